//! A list that is read page by page in a task of its own, one page ahead of what is taken.

use std::collections::VecDeque;
use std::future::Future;

use tokio::sync::mpsc;

/// The items of such a list, in the order in which they are read.
pub(crate) struct Pages<T, E> {
    pages: mpsc::Receiver<Result<Vec<T>, E>>,
    page: VecDeque<T>,
}

/// Where the reader of a list puts its pages.
#[derive(Clone)]
pub(crate) struct PageSender<T, E>(mpsc::Sender<Result<Vec<T>, E>>);

impl<T, E> PageSender<T, E> {
    /// Hands on a page, once the page before it was taken. False if nobody takes any more.
    pub(crate) async fn send(&self, page: Vec<T>) -> bool {
        self.0.send(Ok(page)).await.is_ok()
    }
}

impl<T: Send + 'static, E: Send + 'static> Pages<T, E> {
    /// Starts the task: `read` sends all pages. An error that it returns is the last item.
    pub(crate) fn read<F>(read: impl FnOnce(PageSender<T, E>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + Send,
    {
        let (sender, pages) = mpsc::channel(1);
        tokio::spawn(async move {
            if let Err(error) = read(PageSender(sender.clone())).await {
                // If nobody listens any more, nobody needs to know.
                let _ = sender.send(Err(error)).await;
            }
        });
        Self { pages, page: VecDeque::new() }
    }
}

impl<T, E> Pages<T, E> {
    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// That of the reader, once, if the list cannot be read to its end.
    pub(crate) async fn next(&mut self) -> Result<Option<T>, E> {
        while self.page.is_empty() {
            match self.pages.recv().await {
                Some(page) => self.page = page?.into(),
                None => break,
            }
        }
        Ok(self.page.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(mut pages: Pages<u32, &'static str>) -> (Vec<u32>, Option<&'static str>) {
        let mut items = Vec::new();
        loop {
            match pages.next().await {
                Ok(Some(item)) => items.push(item),
                Ok(None) => return (items, None),
                Err(error) => return (items, Some(error)),
            }
        }
    }

    #[tokio::test]
    async fn items_come_in_order_and_empty_pages_are_passed_over() {
        let pages = Pages::read(|pages| async move {
            for page in [vec![1, 2], vec![], vec![3]] {
                assert!(pages.send(page).await);
            }
            Ok(())
        });
        assert_eq!(all(pages).await, (vec![1, 2, 3], None));
    }

    #[tokio::test]
    async fn an_error_comes_after_what_was_read_before_it() {
        let pages = Pages::read(|pages| async move {
            pages.send(vec![1]).await;
            Err("the node is gone")
        });
        assert_eq!(all(pages).await, (vec![1], Some("the node is gone")));
    }

    #[tokio::test]
    async fn a_reader_learns_that_nobody_takes_its_pages() {
        let (told, mut learned) = mpsc::channel(1);
        let mut pages = Pages::read(move |pages| async move {
            while pages.send(vec![1]).await {}
            told.send(()).await.unwrap();
            Ok::<(), &'static str>(())
        });
        assert_eq!(pages.next().await, Ok(Some(1)));
        drop(pages);
        assert_eq!(learned.recv().await, Some(()));
    }
}
