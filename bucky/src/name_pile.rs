//! Names that are collected before they are used, however many there are. What does not fit into a page goes
//! to a file.
//!
//! The file has no name and is gone when the pile is dropped. Names come out in the order in which they went
//! in.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};

/// A pile of names. No name may contain an end of line.
#[derive(Debug)]
pub(crate) struct NamePile {
    page_len: usize,
    /// The names that are not in the file yet.
    page: Vec<String>,
    file: Option<BufWriter<File>>,
    len: u64,
}

/// A pile that is being read.
#[derive(Debug)]
pub(crate) struct NamePages {
    page_len: usize,
    page: Vec<String>,
    file: Option<BufReader<File>>,
}

impl NamePile {
    /// An empty pile; up to `page_len` names are kept in memory.
    pub(crate) fn new(page_len: usize) -> Self {
        Self { page_len: page_len.max(1), page: Vec::new(), file: None, len: 0 }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Adds a name.
    ///
    /// # Errors
    /// If the file cannot be created or written.
    pub(crate) async fn push(&mut self, name: String) -> io::Result<()> {
        self.page.push(name);
        self.len += 1;
        if self.page.len() < self.page_len {
            return Ok(());
        }
        let (page, file) = (std::mem::take(&mut self.page), self.file.take());
        let file = blocking(move || {
            let mut file = match file {
                Some(file) => file,
                None => BufWriter::new(tempfile::tempfile()?),
            };
            page.iter().try_for_each(|name| writeln!(file, "{name}"))?;
            Ok(file)
        });
        self.file = Some(file.await?);
        Ok(())
    }

    /// The names, from the first one on.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) async fn into_pages(self) -> io::Result<NamePages> {
        let Self { page_len, page, file, .. } = self;
        let file = match file {
            None => None,
            Some(file) => {
                let rewound = blocking(move || {
                    let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                    file.rewind()?;
                    Ok(BufReader::new(file))
                });
                Some(rewound.await?)
            }
        };
        Ok(NamePages { page_len, page, file })
    }
}

impl NamePages {
    /// The next names, or `None` at the end.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Vec<String>>> {
        if let Some(file) = self.file.take() {
            let page_len = self.page_len;
            let (file, page) = blocking(move || read_page(file, page_len)).await?;
            if !page.is_empty() {
                self.file = Some(file);
                return Ok(Some(page));
            }
        }
        let page = std::mem::take(&mut self.page);
        Ok((!page.is_empty()).then_some(page))
    }
}

fn read_page(
    mut file: BufReader<File>,
    page_len: usize,
) -> io::Result<(BufReader<File>, Vec<String>)> {
    let page = file.by_ref().lines().take(page_len).collect::<io::Result<_>>()?;
    Ok((file, page))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_come_out_as_they_went_in_however_many_fit_a_page() {
        let names: Vec<String> = (0..10).map(|number| format!("näme.{number}")).collect();
        for page_len in 1..=11 {
            let mut pile = NamePile::new(page_len);
            for name in &names {
                pile.push(name.clone()).await.unwrap();
            }
            assert_eq!(pile.len(), 10);
            assert_eq!(pile.file.is_some(), page_len <= 10);
            let (mut pages, mut found) = (pile.into_pages().await.unwrap(), Vec::new());
            while let Some(page) = pages.next().await.unwrap() {
                assert!(page.len() <= page_len);
                found.extend(page);
            }
            assert_eq!(found, names, "pages of {page_len}");
        }
    }

    #[tokio::test]
    async fn an_empty_pile_has_no_page() {
        assert_eq!(NamePile::new(5).into_pages().await.unwrap().next().await.unwrap(), None);
    }
}
