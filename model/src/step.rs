//! The steps, named after functions of the code.

use std::fmt;

/// Who performs a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A client, or a daemon that works for it.
    Client(usize),
    /// The sweeper of this tombstone.
    Sweeper(usize),
    /// A daemon that continues the request of a dead client.
    Orphan,
    /// A writer.
    Carbon(usize),
    /// A node itself.
    Node(usize),
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub(crate) who: Who,
    pub(crate) name: Name,
    pub(crate) at: usize,
}

macro_rules! names {
    ($($name:ident: $function:literal in $folder:literal, $description:literal;)*) => {
        /// A step's name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "its description is beside it")]
        pub enum Name { $($name),* }

        impl Name {
            /// All names.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The function that performs the step, and the folder that contains it; both are empty if it is
            /// not Bucky's.
            pub fn function(self) -> (&'static str, &'static str) {
                match self { $(Self::$name => ($function, $folder)),* }
            }

            /// What the step does.
            pub fn description(self) -> &'static str {
                match self { $(Self::$name => $description),* }
            }
        }
    };
}

names! {
    // Step 1 of docs/internals/safety-steps.md.
    Read: "read" in "buckyd/src/store", "reads the file, and sends it";
    SourceGone: "read" in "buckyd/src/store", "finds no file to send";
    // Step 2b, and 3.
    WriteNew: "write_new" in "buckyd/src/store", "stages the new file, and syncs it (`sync_staged`)";
    // Step 2a, in two halves: between them only the holder of the lock may write, but any process may
    // truncate.
    FillOpen: "fill_open" in "buckyd/src/store", "locks and reads the file, and plans the fill";
    WriteInPlace: "write_in_place" in "whisper/src", "writes the points that were planned";
    // Step 4.
    PutInPlace: "put_in_place" in "buckyd/src/store", "gives the new file its name";
    PutOrFill: "put_or_fill" in "buckyd/src/store", "finds a file there: fills it instead, locks and reads it";
    Replace: "put_in_place" in "buckyd/src/store", "puts the new file in the place of another";
    Reshape: "fill_open" in "buckyd/src/store", "writes a new file with the archives of both; the old one becomes a tombstone";
    // Step 5.
    SyncFinal: "sync_final" in "buckyd/src/store", "syncs, and answers";
    Again: "heal" in "bucky/src/transfer", "sees that the owners healed from different contents: again";
    // Steps 6 and 7.
    DeleteOne: "delete_one" in "buckyd/src/store", "compares the file with the receipt, makes it a tombstone, answers";
    DeleteUnheard: "delete_one" in "buckyd/src/store", "compares, makes it a tombstone, and is killed before it answers";
    DeleteChanged: "delete_one" in "buckyd/src/store", "finds that the file has changed: it stays, and is healed again";
    DeleteMissing: "delete_one" in "buckyd/src/store", "finds no file: counts as deleted";
    // Step 8.
    ReadTombstones: "read_tombstones" in "buckyd/src/store", "reads the tombstone after the grace time";
    Ask: "ask_owner" in "buckyd/src/sweeper", "asks the owner: complete";
    AskLacks: "ask_owner" in "buckyd/src/sweeper", "asks the owner: not complete, so sends the tombstone (`heal`)";
    HealChanged: "heal" in "buckyd/src/sweeper", "sees that the tombstone has changed, so sends it";
    // Step 9.
    CompareSame: "unlink_one" in "buckyd/src/store", "compares the tombstone with what was confirmed: the same";
    CompareChanged: "unlink_one" in "buckyd/src/store", "compares the tombstone with what was confirmed: it has changed, and waits";
    Unlink: "unlink_one" in "buckyd/src/store", "unlinks the tombstone";
    // Writers.
    Looks: "" in "", "checks whether the file exists";
    Opens: "" in "", "opens the file";
    OpensAndWrites: "" in "", "opens the file, writes its update, and closes it";
    Drops: "" in "", "finds the file gone, and drops its update (its own log says so)";
    Creates: "" in "", "creates the file, having seen none: whatever is there now is truncated";
    Writes: "" in "", "writes its update, and closes the file";
    // What goes wrong.
    Killed: "" in "", "the daemon is killed, and starts again";
    ClientKilled: "" in "", "the client is killed, and run again";
    ClientKilledOrphan: "" in "", "the client is killed and run again; the daemon continues the heal";
    PowerCut: "" in "", "loses its power, and everything that was not synced";
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.who {
            Who::Client(client) => write!(f, "client {}", client + 1)?,
            Who::Sweeper(tombstone) => write!(f, "sweeper, tombstone {}", tombstone + 1)?,
            Who::Orphan => f.write_str("dead client")?,
            Who::Carbon(writer) => write!(f, "carbon {}", writer + 1)?,
            Who::Node(_) => f.write_str("node")?,
        }
        let (function, _) = self.name.function();
        let name = if function.is_empty() { String::new() } else { format!(" `{function}`") };
        write!(f, ": node {}{name}: {}", self.at, self.name.description())
    }
}
