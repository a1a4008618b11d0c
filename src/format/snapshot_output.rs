//! Writes a large file in pieces, which are put together while the piece before is handed to the operating system.
//!
//! To copy bytes to the page cache takes a thread as long as to put them together. What is larger than a few pieces is
//! done by two threads, therefore: the caller's puts together, another one writes. All pieces but the last begin and end
//! at multiples of their size: the kernel then takes memory for many pages at a time, which is nearly twice as fast.

use crate::backend::StorageFile;
use crate::error::{Error, Result};
use std::sync::mpsc;
use std::thread;

/// Pieces of this size: large enough for the disk, small beside any store.
const CHUNK: usize = 256 * 1024;
/// The disk begins to write when so much is there for it, while the rest is still being put together.
const BEHIND: u64 = 4 << 20;
/// What is smaller than this one thread writes: to start another one takes as long.
const ALONE: u64 = 1 << 20;
/// So much may wait to be written before more is put together. A record may be larger by itself: it is waited for.
const AHEAD: usize = 3 * CHUNK;

/// Writes what `fill` appends to a buffer again and again, until it says that there is no more.
///
/// # Errors
/// Those of the file and of `fill`.
pub(super) fn write(file: &mut dyn StorageFile, fill: impl FnMut(&mut Vec<u8>) -> Result<bool>) -> Result<()> {
    let mut output = Output { file, offset: 0, behind: 0 };
    let mut pieces = Pieces { fill, rest: Vec::new(), more: true };
    let mut buffer = Vec::new();
    while output.offset < ALONE && pieces.next(&mut buffer)? {
        output.write(&buffer)?;
    }
    // It may have the size of a large record.
    buffer = Vec::new();
    if output.offset >= ALONE && by_two(&mut output, &mut pieces)? {
        return Ok(());
    }
    while pieces.next(&mut buffer)? {
        output.write(&buffer)?;
    }
    Ok(())
}

/// What is put together, cut into pieces.
struct Pieces<F> {
    fill: F,
    /// What the next piece begins with.
    rest: Vec<u8>,
    more: bool,
}

impl<F: FnMut(&mut Vec<u8>) -> Result<bool>> Pieces<F> {
    /// Puts the next piece into a buffer, whatever is there; false if there is none.
    fn next(&mut self, piece: &mut Vec<u8>) -> Result<bool> {
        piece.clear();
        piece.reserve(2 * CHUNK);
        piece.append(&mut self.rest);
        while self.more && piece.len() < CHUNK {
            self.more = (self.fill)(piece)?;
        }
        if piece.len() > CHUNK {
            let whole = piece.len() - piece.len() % CHUNK;
            self.rest.extend(piece.drain(whole..));
        }
        Ok(!piece.is_empty())
    }
}

struct Output<'f> {
    file: &'f mut dyn StorageFile,
    offset: u64,
    /// Up to here the disk was told to write.
    behind: u64,
}

impl Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write(self.offset, bytes)?;
        self.offset += bytes.len() as u64;
        if self.offset - self.behind >= BEHIND {
            self.file.write_behind(self.behind, self.offset - self.behind);
            self.behind = self.offset;
        }
        Ok(())
    }
}

/// False if there is no other thread to be had; nothing was done then.
fn by_two(output: &mut Output<'_>, pieces: &mut Pieces<impl FnMut(&mut Vec<u8>) -> Result<bool>>) -> Result<bool> {
    thread::scope(|scope| {
        let (full, pieces_to_write) = mpsc::channel::<Vec<u8>>();
        let (done, written) = mpsc::channel();
        let write = move || {
            pieces_to_write.into_iter().try_for_each(|piece| {
                output.write(&piece)?;
                // Nobody takes it where nothing more is put together.
                let _ = done.send(piece);
                Ok(())
            })
        };
        let writing = thread::Builder::new().name("opslog-snapshot".to_owned()).spawn_scoped(scope, write);
        let Ok(writing) = writing else { return Ok(false) };
        // Nothing comes any more where nobody writes: then nothing can be sent, either.
        let next_written = |wait| if wait { written.recv().ok() } else { written.try_recv().ok() };
        let mut waiting = 0;
        let filled = loop {
            let mut piece = Vec::new();
            while let Some(used) = next_written(waiting > AHEAD) {
                waiting -= used.len();
                piece = used;
            }
            // What a large record took is given back.
            if piece.capacity() > 2 * AHEAD {
                piece = Vec::new();
            }
            match pieces.next(&mut piece) {
                Ok(true) => {
                    waiting += piece.len();
                    // Where nobody writes any more, that has a reason of its own.
                    if full.send(piece).is_err() {
                        break Ok(true);
                    }
                }
                ended => break ended,
            }
        };
        drop(full);
        let panicked =
            |_| Err(Error::Failed { message: "Writing a snapshot failed unexpectedly".to_owned(), cause: None });
        writing.join().unwrap_or_else(panicked).and(filled).map(|_| true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// What was written, and by whom; fails once it would be longer than that.
    #[derive(Clone)]
    struct Sink {
        bytes: Arc<Mutex<Vec<u8>>>,
        writers: Arc<Mutex<Vec<thread::ThreadId>>>,
        pieces: Arc<Mutex<Vec<usize>>>,
        most: usize,
    }

    impl Sink {
        fn of(most: usize) -> Self {
            Sink { bytes: Arc::default(), writers: Arc::default(), pieces: Arc::default(), most }
        }
    }

    impl StorageFile for Sink {
        fn write(&mut self, offset: u64, piece: &[u8]) -> Result<()> {
            let mut bytes = self.bytes.lock().unwrap();
            assert_eq!(offset, bytes.len() as u64);
            if bytes.len() + piece.len() > self.most {
                return Err(Error::Failed { message: "full".to_owned(), cause: None });
            }
            bytes.extend_from_slice(piece);
            self.writers.lock().unwrap().push(thread::current().id());
            self.pieces.lock().unwrap().push(piece.len());
            Ok(())
        }

        fn read(&self, _: u64, _: &mut [u8]) -> Result<usize> {
            unreachable!()
        }

        fn truncate(&mut self, _: u64) -> Result<()> {
            unreachable!()
        }

        fn sync(&mut self) -> Result<()> {
            unreachable!()
        }

        fn check(&self, _: u64) -> Result<()> {
            unreachable!()
        }
    }

    /// So many runs of bytes, each another one.
    fn write_runs(sink: &Sink, count: usize, len: usize) -> Result<()> {
        let mut made = 0;
        write(&mut sink.clone(), |buffer| {
            buffer.resize(buffer.len() + len, made as u8);
            made += 1;
            Ok(made < count)
        })
    }

    #[test]
    fn what_is_put_together_is_written_whoever_writes_it() {
        let total = |megabytes: usize| megabytes << 20;
        for (count, len) in [
            (1, 0),
            (1, 7),
            (3, CHUNK),
            (4, CHUNK),
            (5, CHUNK),
            (40, CHUNK),
            (99, 100_000),
            (9, total(1)),
            (2, total(3)),
        ] {
            let sink = Sink::of(usize::MAX);
            write_runs(&sink, count, len).unwrap();
            let bytes = sink.bytes.lock().unwrap();
            assert_eq!(bytes.len(), count * len);
            assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == (at / len) as u8));
            let mut writers = sink.writers.lock().unwrap().clone();
            writers.dedup();
            // What is put together at once may be more than one thread is to write alone.
            let two = count * len > ALONE as usize;
            assert!(len > CHUNK || (writers.len() == 2) == two, "{count} x {len}");
        }
    }

    #[test]
    fn all_pieces_but_the_last_are_aligned() {
        for (count, len) in [(99, 100_000), (10, 300_001), (3, 5 << 20)] {
            let sink = Sink::of(usize::MAX);
            write_runs(&sink, count, len).unwrap();
            let pieces = sink.pieces.lock().unwrap();
            assert!(pieces.iter().rev().skip(1).all(|piece| piece % CHUNK == 0), "{pieces:?}");
        }
    }

    #[test]
    fn what_waits_to_be_written_is_bounded() {
        const LEN: usize = 8 << 20;
        let (made, sink) = (Arc::new(Mutex::new(0)), Sink::of(usize::MAX));
        let count = made.clone();
        let bytes = sink.bytes.clone();
        write(&mut sink.clone(), |buffer| {
            let mut made = count.lock().unwrap();
            // One that is large is written before the next is put together.
            assert!(*made * LEN <= bytes.lock().unwrap().len() + CHUNK);
            buffer.resize(buffer.len() + LEN, 1);
            *made += 1;
            Ok(*made < 8)
        })
        .unwrap();
        assert_eq!((*made.lock().unwrap(), sink.bytes.lock().unwrap().len()), (8, 8 * LEN));
    }

    #[test]
    fn a_failure_of_the_file_ends_it_and_is_told() {
        for most in [0, 1, 3, 4, 5, 10] {
            let sink = Sink::of(most * CHUNK);
            let error = write_runs(&sink, 1000, CHUNK).unwrap_err();
            assert_eq!((error.to_string().as_str(), sink.bytes.lock().unwrap().len()), ("full", most * CHUNK));
        }
    }

    #[test]
    fn a_failure_to_put_together_ends_it_and_is_told() {
        for after in [0, 3, 4, 5, 10] {
            let (sink, mut made) = (Sink::of(usize::MAX), 0);
            let error = write(&mut sink.clone(), |buffer| {
                if made == after {
                    return Err(Error::Failed { message: "given up".to_owned(), cause: None });
                }
                made += 1;
                buffer.resize(buffer.len() + CHUNK, 1);
                Ok(true)
            });
            assert_eq!(error.unwrap_err().to_string(), "given up");
            assert_eq!(sink.bytes.lock().unwrap().len(), after * CHUNK);
        }
    }
}
