//! Files that are whole, torn and damaged; what is reported, and what is written.

use super::*;
use baton_engine::aof::block::Annotator;
use baton_engine::rdb::{Version, crc64, write};
use std::fs;
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("a file");
    }

    fn get(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.path(name)).ok()
    }

    /// The report, or the error, without the path of the folder; `ok` or `bad` in front.
    fn check(&self, line: &str) -> String {
        let words: Vec<_> = line.split(' ').map(std::ffi::OsString::from).collect();
        let mut request = parse(&words[0], &words[1..]).expect("a command line of ours").expect("a request");
        request.path = self.0.path().join(&request.path).components().collect();
        let mut out = Vec::new();
        let result = report(&request, 1_000_000, &mut out);
        let text = match result {
            Ok(well) => format!("{}\n{}", if well { "ok" } else { "bad" }, String::from_utf8_lossy(&out)),
            Err(error) => format!("bad\n{}{error}\n", String::from_utf8_lossy(&out)),
        };
        text.replace(&format!("{}/", self.0.path().display()), "")
            .replace(&self.0.path().display().to_string(), "FOLDER")
    }
}

/// Every line of `parts` is in the text, in order.
#[track_caller]
fn assert_lines(text: &str, parts: &[&str]) {
    let mut lines = text.lines();
    for part in parts {
        assert!(lines.any(|line| line.contains(part)), "'{part}' is missing from:\n{text}");
    }
}

fn snapshot_body() -> Vec<u8> {
    let mut file = write::header(Version::V10).to_vec();
    write::aux(&mut file, b"redis-ver", b"7.2.0");
    write::aux(&mut file, b"ctime", b"98");
    write::select_db(&mut file, 0);
    file.extend(b"\x00\x03foo\x03bar");
    file.extend(b"\xfc\x10\x27\x00\x00\x00\x00\x00\x00\x01\x04list\x02\x01a\x01b");
    file
}

fn snapshot() -> Vec<u8> {
    let mut file = snapshot_body();
    let crc = crc64::checksum(&file);
    write::end(&mut file, crc);
    file
}

fn commands(lines: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines.split("; ") {
        let args: Vec<&str> = line.split(' ').collect();
        out.extend(format!("*{}\r\n", args.len()).bytes());
        args.iter().for_each(|arg| out.extend(format!("${}\r\n{arg}\r\n", arg.len()).bytes()));
    }
    out
}

/// A log with a block per line, a second apart.
fn log(lines: &[&str]) -> Vec<u8> {
    let (mut annotator, mut out) = (Annotator::new(), Vec::new());
    for (second, line) in (100..).zip(lines) {
        let block = commands(line);
        out.extend_from_slice(&annotator.annotate(&block, second, None, Some(second as i64)));
        out.extend(block);
    }
    out
}

#[test]
fn a_whole_snapshot() {
    let folder = Folder::new();
    folder.put("dump.rdb", &snapshot());
    let text = folder.check("baton check rdb dump.rdb");
    assert_lines(
        &text,
        &[
            "ok",
            "dump.rdb: 75 bytes, format 10 of Redis",
            "  redis-ver: 7.2.0",
            "  2 keys, 1 with an expiry, 1 of which is in the past",
            "  database 0: 2 keys",
            "  list: 1 keys, 2 elements, 5 bytes in the file",
            "  string: 1 keys, 1 elements, 4 bytes in the file",
            "  keys by slot: 0-2047: 0, ",
            "dump.rdb: in order",
        ],
    );
    assert_lines(
        &folder.check("redis-check-rdb dump.rdb"),
        &[
            "[offset 0] Checking RDB file dump.rdb",
            "[offset 75] \\o/ RDB looks OK! \\o/",
            "[info] 2 keys read",
        ],
    );
}

#[test]
fn a_damaged_snapshot_is_cut_behind_the_last_whole_key() {
    let folder = Folder::new();
    let whole = snapshot();
    let mut damaged = whole.clone();
    // The list says that it has more elements than there are bytes.
    damaged[61] = 0x3f;
    folder.put("dump.rdb", &damaged);
    let text = folder.check("baton check rdb dump.rdb --fix");
    assert_lines(
        &text,
        &["ok", "1 keys", "dump.rdb: damaged", "dump.rdb.fixed: written with 1 keys", "dropped the"],
    );
    assert_eq!(folder.get("dump.rdb").as_ref(), Some(&damaged), "the original stays");
    fs::rename(folder.path("dump.rdb.fixed"), folder.path("fixed.rdb")).expect("renamed");
    assert_lines(&folder.check("baton check rdb fixed.rdb"), &["ok", "1 keys", "fixed.rdb: in order"]);
}

#[test]
fn a_snapshot_with_another_checksum_keeps_all_keys() {
    let folder = Folder::new();
    let mut file = snapshot();
    file[43] ^= 1;
    folder.put("dump.rdb", &file);
    let text = folder.check("baton check rdb dump.rdb");
    assert_lines(&text, &["bad", "2 keys", "expected the checksum of all bytes before"]);
    assert_lines(
        &folder.check("baton check rdb --fix dump.rdb"),
        &["ok", "dump.rdb.fixed: written with 2 keys"],
    );
    assert_lines(
        &folder.check("baton check rdb --fix dump.rdb"),
        &["bad", "dump.rdb.fixed: it is there already"],
    );
    assert_lines(&folder.check("baton check rdb dump.rdb.fixed"), &["ok", "2 keys"]);
}

#[test]
fn a_cut_snapshot_names_its_end() {
    let folder = Folder::new();
    folder.put("dump.rdb", &snapshot()[..58]);
    assert_lines(
        &folder.check("baton check rdb dump.rdb"),
        &["bad", "cut off at offset 58, the end of the file"],
    );
    folder.put("empty.rdb", b"");
    assert_lines(&folder.check("baton check rdb empty.rdb --fix"), &["bad", "there is nothing to save"]);
    assert_lines(&folder.check("baton check rdb none.rdb"), &["bad", "none.rdb: No such file or directory"]);
    assert_lines(&folder.check("baton check rdb ."), &["bad", "it is a directory"]);
}

#[test]
fn a_single_log() {
    let folder = Folder::new();
    let file = log(&["SELECT 0; SET a 1; RPUSH l x", "MULTI; INCR a; NONSENSE; EXEC", "SET b 2"]);
    folder.put("a.aof", &file);
    let text = folder.check("baton check aof a.aof");
    assert_lines(
        &text,
        &[
            "ok",
            "5 commands, 1 transactions, 3 blocks with checksums",
            "written from second 100 (1970-01-01T00:01:40Z) to 102",
            "  list: 1 (RPUSH 1)",
            "  not known to this build: 1 (NONSENSE 1)",
            "  string: 3 (SET 2, INCR 1)",
            "a.aof: in order",
        ],
    );
    assert_lines(
        &folder.check("redis-check-aof a.aof"),
        &["ok", "Start checking Old-Style AOF", "AOF analyzed: filename=a.aof, size=", "AOF a.aof is valid"],
    );
    assert_lines(&folder.check("baton check aof a.aof --fix"), &["ok", "nothing to cut off"]);
    assert_eq!(folder.get("a.aof.fixed"), None);

    folder.put("a.aof", &file[..file.len() - 5]);
    assert_lines(&folder.check("baton check aof a.aof"), &["bad", "torn: whole up to offset"]);
    assert_lines(
        &folder.check("redis-check-aof --fix a.aof"),
        &["ok", "a.aof.fixed: written, ", "dropped the "],
    );
    assert_lines(&folder.check("baton check aof a.aof.fixed"), &["ok", "4 commands", "in order"]);
    assert_eq!(folder.get("a.aof").map(|bytes| bytes.len()), Some(file.len() - 5));
}

#[test]
fn a_snapshot_in_front_of_commands() {
    let folder = Folder::new();
    folder.put("a.aof", &[snapshot(), commands("SELECT 0; SET a 1")].concat());
    assert_lines(&folder.check("baton check aof a.aof"), &["ok", "2 keys", "1 commands", "in order"]);
    assert_lines(&folder.check("baton check rdb a.aof"), &["ok", "bytes behind the end"]);
    let mut file = snapshot();
    file[61] = 0x3f;
    folder.put("a.aof", &file);
    assert_lines(
        &folder.check("baton check aof a.aof --fix"),
        &["bad", "damaged", "begins with a snapshot that is damaged"],
    );
}

/// A base and two increments, the first of them with three blocks.
fn put_log(folder: &Folder) {
    folder.put("a.1.base.rdb", &snapshot());
    folder.put("a.1.incr.aof", &log(&["SELECT 0; SET a 1", "SET b 2", "SET c 3"]));
    folder.put("a.2.incr.aof", &commands("SELECT 0; SET d 4"));
    folder.put(
        "a.manifest",
        b"file a.1.base.rdb seq 1 type b\nfile a.0.incr.aof seq 7 type h\n\
          file a.1.incr.aof seq 1 type i\nfile a.2.incr.aof seq 2 type i startoffset 5\n",
    );
}

#[test]
fn a_log_of_several_files() {
    let folder = Folder::new();
    put_log(&folder);
    for line in ["baton check aof .", "baton check aof a.manifest", "redis-check-aof a.manifest"] {
        assert_lines(
            &folder.check(line),
            &["ok", "a.manifest: 3 files to load, 1 of history", "2 keys", "a.2.incr.aof"],
        );
    }
    fs::create_dir(folder.path("appendonlydir")).expect("a folder");
    assert_lines(&folder.check("baton check aof ."), &["bad", "expected one manifest in it, found 0"]);
    folder.put("appendonlydir/b.manifest", b"file x seq 0 type b\n");
    assert_lines(
        &folder.check("baton check aof ."),
        &["bad", "line 1 of the manifest: expected a sequence number"],
    );
    folder.put("appendonlydir/b.manifest", b"file gone seq 1 type b\n");
    assert_lines(&folder.check("baton check aof ."), &["bad", "gone: No such file or directory"]);
}

/// What scripts read.
#[test]
fn lines_of_redis_check_aof() {
    let folder = Folder::new();
    folder.put("a.aof", &[commands("SET foo hello"), b"!!!".to_vec()].concat());
    assert_lines(
        &folder.check("redis-check-aof a.aof"),
        &[
            "bad",
            "Start checking Old-Style AOF",
            "AOF analyzed: filename=a.aof, size=36, ok_up_to=33, ok_up_to_line=8, diff=3",
            "AOF a.aof is not valid. Use the --fix option to try fixing it.",
        ],
    );
    folder.put("b.aof", &[snapshot(), commands("SELECT 0; SET a 1")].concat());
    assert_lines(
        &folder.check("valkey-check-aof b.aof"),
        &[
            "ok",
            "RDB preamble is OK, proceeding with AOF tail...",
            "ok_up_to_line=13, diff=0",
            "AOF b.aof is valid",
        ],
    );
    put_log(&folder);
    assert_lines(
        &folder.check("redis-check-aof a.manifest"),
        &[
            "ok",
            "Start checking Multi Part AOF",
            "Start to check BASE AOF (RDB format).",
            "RDB preamble is OK",
            "BASE AOF a.1.base.rdb is valid",
            "Start to check INCR files.",
            "INCR AOF a.1.incr.aof is valid",
            "INCR AOF a.2.incr.aof is valid",
            "All AOF files and manifest are valid",
        ],
    );
    folder.put("a.2.incr.aof", b"");
    assert_lines(&folder.check("redis-check-aof a.manifest"), &["ok", "INCR AOF a.2.incr.aof is empty"]);
    assert_lines(
        &folder.check("redis-check-aof --truncate-to-timestamp 101 a.manifest"),
        &["bad", "Failed to truncate AOF a.1.incr.aof to timestamp 101 to offset", "Nothing was written"],
    );
    let file = folder.get("a.1.incr.aof").expect("the file");
    folder.put("a.1.incr.aof", &file[..file.len() - 2]);
    assert_lines(
        &folder.check("redis-check-aof --fix a.manifest"),
        &[
            "bad",
            "Failed to truncate AOF a.1.incr.aof because it is not the last file",
            "Nothing was written",
        ],
    );
    assert_eq!(folder.get("a.1.incr.aof.fixed"), None);
    folder.put("a.manifest", b"file a.1.base.rdb seq 1 type b\n!!!\n");
    assert_lines(
        &folder.check("redis-check-aof a.manifest"),
        &["bad", "Invalid AOF manifest file format: a.manifest: line 2 of the manifest"],
    );
}

#[test]
fn what_is_saved_ends_where_the_log_is_damaged() {
    let folder = Folder::new();
    put_log(&folder);
    let mut file = folder.get("a.1.incr.aof").expect("the file");
    let at = file.len() - 3;
    file[at] = b'4';
    folder.put("a.1.incr.aof", &file);
    let before = folder.get("a.manifest");
    let text = folder.check("baton check aof . --fix");
    assert_lines(
        &text,
        &[
            "ok",
            "a.1.incr.aof: damaged at offset",
            "a.1.incr.aof.fixed: written",
            "a.2.incr.aof: dropped as a whole",
            "a.manifest.fixed: written; to use it, rename it to a.manifest",
        ],
    );
    assert_eq!((folder.get("a.manifest"), folder.get("a.1.incr.aof")), (before, Some(file)));
    fs::rename(folder.path("a.manifest.fixed"), folder.path("a.manifest")).expect("renamed");
    assert_lines(
        &folder.check("baton check aof ."),
        &["ok", "2 files to load, 1 of history", "2 commands", "a.1.incr.aof.fixed: in order"],
    );
}

#[test]
fn only_the_last_file_may_be_torn() {
    let folder = Folder::new();
    put_log(&folder);
    for name in ["a.1.incr.aof", "a.2.incr.aof"] {
        let file = folder.get(name).expect("the file");
        folder.put(name, &file[..file.len() - 2]);
    }
    assert_lines(
        &folder.check("baton check aof ."),
        &["bad", "a.1.incr.aof: damaged at offset", "a.1.incr.aof: whole up to"],
    );
    put_log(&folder);
    folder.put("a.2.incr.aof", b"*2\r\n$6\r\nSEL");
    assert_lines(
        &folder.check("baton check aof ."),
        &["bad", "a.2.incr.aof: torn: whole up to offset 0, then a command that is cut off"],
    );
}

#[test]
fn a_log_is_cut_at_a_timestamp() {
    let folder = Folder::new();
    put_log(&folder);
    let whole = folder.get("a.1.incr.aof").expect("the file");
    let text = folder.check("baton check aof . --to-timestamp 101");
    assert_lines(
        &text,
        &[
            "ok",
            "a.1.incr.aof: second 102 begins at offset",
            "a.2.incr.aof: dropped as a whole",
            "a.manifest.fixed",
        ],
    );
    let kept = folder.get("a.1.incr.aof.fixed").expect("a new file");
    assert!(whole.starts_with(&kept) && whole[kept.len()..].starts_with(b"#TS:102\r\n"));
    assert_lines(&folder.check("baton check aof a.1.incr.aof.fixed"), &["ok", "2 commands"]);
    assert_lines(
        &folder.check("baton check aof a.1.incr.aof --to-timestamp 102"),
        &["ok", "nothing to cut off"],
    );
    assert_lines(
        &folder.check("baton check aof . --to-timestamp 97"),
        &["bad", "nothing was written before second 98"],
    );
    assert_lines(
        &folder.check("redis-check-aof --truncate-to-timestamp 99 a.1.incr.aof"),
        &["bad", "nothing was written before second 100"],
    );
}
