//! The journal in files: segments written ahead as zeros, each commit one write and one `fdatasync`.
//!
//! `journal/<20 digits>` is the segment that begins with that entry; its first sector says so, and from which
//! SHA-256 its frames go on. A segment goes when all its entries are in full tiles; one that is empty waits as
//! `journal/next`.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::store::create_folder;
use super::super::tree::{Hash, sha256};
use super::frame::{self, Found, SECTOR};
use super::{Journal, JournalError};

const MAGIC: &[u8; 24] = b"prokura audit journal 1\n";

/// The journal of one machine.
#[derive(Debug)]
pub struct Segments {
    folder: PathBuf,
    bytes: u64,
    live: Mutex<VecDeque<Segment>>,
    end: Mutex<End>,
    /// Held while the segment that waits is made or taken.
    spare: Mutex<()>,
}

/// Where the next frame goes. Held while it is written.
#[derive(Debug)]
struct End {
    file: Arc<File>,
    offset: u64,
    next: u64,
    chain: Hash,
    failed: bool,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: Arc<File>,
    first: u64,
    frames: Vec<Place>,
}

/// Where a frame is, and which SHA-256 it continues.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) first: u64,
    pub(super) offset: u64,
    pub(super) chain: Hash,
}

/// What a segment holds, found by reading it.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) frames: Vec<Place>,
    pub(super) offset: u64,
    pub(super) next: u64,
    pub(super) chain: Hash,
    /// Behind the frames is something other than zeros.
    pub(super) torn: bool,
    /// And it looks like a later frame.
    later: bool,
}

impl Segments {
    /// Opens the journal in `directory`, or makes it. What was written and not acknowledged is cut if it is not
    /// whole. Entries from `published` on are flushed once more, for a flush of theirs may have failed.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] if anything acknowledged is not as it was written.
    pub fn open(directory: &Path, bytes: u64, published: u64) -> Result<Self, JournalError> {
        let folder = directory.join("journal");
        create_folder(&folder).map_err(system("create", &folder))?;
        clear_spare(&folder).map_err(system("clear a segment in", &folder))?;
        let mut live = VecDeque::new();
        let mut end: Option<Scan> = None;
        let names = names(&folder)?;
        for (number, first) in names.iter().enumerate() {
            let path = folder.join(format!("{first:020}"));
            let file =
                OpenOptions::new().read(true).write(true).open(&path).map_err(system("open", &path))?;
            let chain = read_head(&file, &path, *first)?;
            if end.as_ref().is_some_and(|end| end.next != *first || end.chain != chain) {
                return Err(JournalError::Damaged(format!(
                    "{} does not continue the one before",
                    path.display()
                )));
            }
            let scan = scan(&file, *first, chain).map_err(system("read", &path))?;
            if scan.later || (scan.torn && number + 1 < names.len()) {
                let what = format!("{} has a broken frame at byte {}", path.display(), scan.offset);
                return Err(JournalError::Damaged(what));
            }
            live.push_back(Segment {
                path,
                file: Arc::new(file),
                first: *first,
                frames: scan.frames.clone(),
            });
            end = Some(scan);
        }
        let Some((last, scan)) = live.back().zip(end) else {
            return Self::begin(folder, bytes, published);
        };
        repair(last, &scan, published).map_err(system("repair", &last.path))?;
        let Scan { offset, next, chain, .. } = scan;
        let end = End { file: Arc::clone(&last.file), offset, next, chain, failed: false };
        Ok(Self { folder, bytes, live: Mutex::new(live), end: Mutex::new(end), spare: Mutex::new(()) })
    }

    fn begin(folder: PathBuf, bytes: u64, published: u64) -> Result<Self, JournalError> {
        if published > 0 {
            let what = format!("{} is empty, the checkpoint has {published} entries", folder.display());
            return Err(JournalError::Damaged(what));
        }
        let segment = new_segment(&folder, bytes, 0, &Hash::default())?;
        let (file, chain) = (Arc::clone(&segment.file), Hash::default());
        let end = End { file, offset: SECTOR, next: 0, chain, failed: false };
        Ok(Self {
            folder,
            bytes,
            live: Mutex::new(VecDeque::from([segment])),
            end: Mutex::new(end),
            spare: Mutex::new(()),
        })
    }

    fn write(&self, end: &mut End, entries: &[Vec<u8>]) -> Result<(), JournalError> {
        let (bytes, chain) = frame::encode(end.next, entries, &end.chain);
        // A frame larger than a segment has one of its own, which grows.
        if end.offset > SECTOR && end.offset + bytes.len() as u64 > self.bytes {
            let spare = lock(&self.spare);
            let segment = new_segment(&self.folder, self.bytes, end.next, &end.chain)?;
            drop(spare);
            end.file = Arc::clone(&segment.file);
            end.offset = SECTOR;
            lock(&self.live).push_back(segment);
        }
        let failed = || JournalError::system(format!("write to the journal in {}", self.folder.display()));
        end.file.write_all_at(&bytes, end.offset).map_err(failed())?;
        end.file.sync_data().map_err(failed())?;
        if let Some(segment) = lock(&self.live).back_mut() {
            segment.frames.push(Place { first: end.next, offset: end.offset, chain: end.chain });
        }
        end.offset += bytes.len() as u64;
        end.next += entries.len() as u64;
        end.chain = chain;
        Ok(())
    }
}

impl Journal for Segments {
    fn append(&self, entries: &[Vec<u8>]) -> Result<u64, JournalError> {
        let mut end = lock(&self.end);
        if end.failed {
            return Err(JournalError::Damaged("an earlier write failed".to_owned()));
        }
        let first = end.next;
        // Until it is known to have succeeded it has failed.
        end.failed = true;
        self.write(&mut end, entries)?;
        end.failed = false;
        Ok(first)
    }

    fn read(&self, from: u64) -> Result<Vec<Vec<u8>>, JournalError> {
        let Some((file, place)) = self.locate(from)? else { return Ok(Vec::new()) };
        let found = frame::read(&file, place.offset, place.first, &place.chain)
            .map_err(system("read", &self.folder))?;
        let Found::Frame(frame) = found else {
            return Err(JournalError::Damaged(format!(
                "the frame of entry {from} is no longer as it was written"
            )));
        };
        let skip = usize::try_from(from - frame.first).unwrap_or(usize::MAX);
        Ok(frame.entries.into_iter().skip(skip).collect())
    }

    fn release(&self, before: u64) -> Result<(), JournalError> {
        loop {
            let mut live = lock(&self.live);
            let done = live.get(1).is_some_and(|second| second.first <= before);
            let Some(segment) = live.pop_front_if(|_| done) else { break };
            drop(live);
            fs::remove_file(&segment.path).map_err(system("remove", &segment.path))?;
        }
        let _spare = lock(&self.spare);
        prepare(&self.folder, self.bytes).map_err(system("prepare a segment in", &self.folder))
    }
}

impl Segments {
    /// The frame with this entry; none if the entry is yet to come.
    fn locate(&self, index: u64) -> Result<Option<(Arc<File>, Place)>, JournalError> {
        let live = lock(&self.live);
        if live.front().is_some_and(|segment| index < segment.first) {
            return Err(JournalError::Damaged(format!("entry {index} is no longer in it")));
        }
        let Some(segment) = live.iter().rfind(|segment| segment.first <= index) else { return Ok(None) };
        let count = segment.frames.partition_point(|place| place.first <= index);
        let place = count.checked_sub(1).and_then(|last| segment.frames.get(last)).copied();
        let file = Arc::clone(&segment.file);
        Ok(place.map(|place| (file, place)))
    }
}

/// First entries of the segments, in order.
pub(super) fn names(folder: &Path) -> Result<Vec<u64>, JournalError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(system("list", folder))? {
        let name = entry.map_err(system("list", folder))?.file_name();
        let name = name.to_string_lossy();
        match name.parse::<u64>() {
            Ok(first) if format!("{first:020}") == name => names.push(first),
            _ if name == "next" || name == "next.new" => {}
            _ => {
                return Err(JournalError::Damaged(format!(
                    "{name:?} does not belong into {}",
                    folder.display()
                )));
            }
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn head(first: u64, chain: &Hash) -> Vec<u8> {
    let mut head = [MAGIC.as_slice(), &first.to_be_bytes(), chain].concat();
    head.extend_from_slice(&sha256(&[&head]));
    head.resize(512, 0);
    head
}

/// The SHA-256 that a segment's frames go on from.
pub(super) fn read_head(file: &File, path: &Path, first: u64) -> Result<Hash, JournalError> {
    let mut found = [0_u8; 512];
    let whole = match file.read_exact_at(&mut found, 0) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
        other => other.map(|()| true).map_err(system("read", path))?,
    };
    let chain = found.get(32..64).and_then(|chain| Hash::try_from(chain).ok());
    chain.filter(|chain| whole && head(first, chain) == found).ok_or_else(|| {
        JournalError::Damaged(format!("the first sector of {} is not as it was written", path.display()))
    })
}

pub(super) fn scan(file: &File, first: u64, chain: Hash) -> io::Result<Scan> {
    let mut scan = Scan { frames: Vec::new(), offset: SECTOR, next: first, chain, torn: false, later: false };
    while let Found::Frame(frame) = frame::read(file, scan.offset, scan.next, &scan.chain)? {
        scan.frames.push(Place { first: frame.first, offset: scan.offset, chain: scan.chain });
        scan.offset += frame.length;
        scan.next += frame.entries.len() as u64;
        scan.chain = frame.chain;
    }
    (scan.torn, scan.later) = frame::rest(file, scan.offset, file.metadata()?.len(), scan.next)?;
    Ok(scan)
}

/// Cuts a torn frame, and writes again what no checkpoint covers: a failed flush leaves pages that only look
/// written.
fn repair(segment: &Segment, scan: &Scan, published: u64) -> io::Result<()> {
    let length = segment.file.metadata()?.len();
    if scan.torn {
        zero(&segment.file, scan.offset, length)?;
    }
    let covered = segment.frames.partition_point(|place| place.first < published).saturating_sub(1);
    let mut offset = segment.frames.get(covered).map_or(scan.offset, |place| place.offset);
    let mut block = vec![0_u8; 128 * 1024];
    while offset < scan.offset {
        let length = usize::try_from(scan.offset - offset).map_or(block.len(), |left| left.min(block.len()));
        let Some(block) = block.get_mut(..length) else { break };
        segment.file.read_exact_at(block, offset)?;
        segment.file.write_all_at(block, offset)?;
        offset += length as u64;
    }
    segment.file.sync_all()
}

fn zero(file: &File, from: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0_u8; 128 * 1024];
    let mut offset = from;
    while offset < end {
        let length = usize::try_from(end - offset).map_or(zeros.len(), |left| left.min(zeros.len()));
        file.write_all_at(zeros.get(..length).unwrap_or_default(), offset)?;
        offset += length as u64;
    }
    Ok(())
}

/// Has a segment of zeros wait as `next`.
fn prepare(folder: &Path, bytes: u64) -> io::Result<()> {
    let (path, aside) = (folder.join("next"), folder.join("next.new"));
    if path.exists() {
        return Ok(());
    }
    let mut file = File::create(&aside)?;
    let zeros = vec![0_u8; 128 * 1024];
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).map_or(zeros.len(), |left| left.min(zeros.len()));
        file.write_all(zeros.get(..length).unwrap_or_default())?;
        left -= length as u64;
    }
    file.sync_all()?;
    fs::rename(&aside, &path)
}

/// A crash while it was taken leaves a first sector in the segment that waits.
fn clear_spare(folder: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).open(folder.join("next")) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other?.write_all_at(&[0; 512], 0),
    }
}

/// Takes the segment that waits, or makes one.
fn new_segment(folder: &Path, bytes: u64, first: u64, chain: &Hash) -> Result<Segment, JournalError> {
    let path = folder.join(format!("{first:020}"));
    let make = || {
        prepare(folder, bytes)?;
        let file = OpenOptions::new().read(true).write(true).open(folder.join("next"))?;
        file.write_all_at(&head(first, chain), 0)?;
        file.sync_all()?;
        fs::rename(folder.join("next"), &path)?;
        File::open(folder)?.sync_all()?;
        Ok(Arc::new(file))
    };
    let file = make().map_err(system("create", &path))?;
    Ok(Segment { path, file, first, frames: Vec::new() })
}

pub(super) fn system(what: &str, path: &Path) -> impl FnOnce(io::Error) -> JournalError + use<> {
    JournalError::system(format!("{what} {}", path.display()))
}

/// A thread that panicked left nothing half-done here: `End::failed` says so if it did.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
