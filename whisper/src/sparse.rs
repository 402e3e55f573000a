//! Writes content without using disk space for blocks of zeros.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The unit in which zeros are left out: the block size of nearly all file systems. With larger blocks a file
/// is just less sparse.
pub(crate) const BLOCK_BYTES: usize = 4_096;

/// Writes `content` to the new, empty `file`, leaving holes for blocks of zeros. It reads back the same.
///
/// # Errors
/// The system's error for a write; a part of the content may have been written.
pub fn write_sparse(file: &File, content: &[u8]) -> io::Result<()> {
    file.set_len(content.len() as u64)?;
    let mut offset = 0;
    for block in content.chunks(BLOCK_BYTES) {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, offset)?;
        }
        offset += block.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn content_written_with_holes_reads_back_the_same_and_takes_less_space() {
        let mut content = vec![0; 300_000];
        content[5] = 1;
        content[200_000] = 2;
        content[299_999] = 3;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        let file = File::create(&path).unwrap();
        write_sparse(&file, &content).unwrap();
        file.sync_all().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), content);
        assert!(file.metadata().unwrap().blocks() * 512 < 100_000);
    }

    #[test]
    fn trailing_zeros_and_no_content_keep_their_length() {
        let folder = tempfile::tempdir().unwrap();
        for len in [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1] {
            let path = folder.path().join(len.to_string());
            write_sparse(&File::create(&path).unwrap(), &vec![0; len]).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), vec![0; len]);
        }
    }
}
