-- What runs did. `plan` and `who` are JSON; times are milliseconds since 1970.
CREATE TABLE runs (
    id          TEXT PRIMARY KEY,
    project     TEXT NOT NULL,
    plan_id     TEXT NOT NULL,
    plan        TEXT NOT NULL,
    kind        TEXT NOT NULL,
    who         TEXT NOT NULL,
    started_ms  INTEGER NOT NULL,
    finished_ms INTEGER,
    code        INTEGER,
    summary     TEXT,
    -- The chain's head when the run ended, and the row it stands in.
    head        TEXT,
    head_seq    INTEGER
) STRICT;
CREATE INDEX runs_by_start ON runs (started_ms);

CREATE TABLE actions (
    run        TEXT NOT NULL REFERENCES runs (id),
    ordinal    INTEGER NOT NULL,
    id         TEXT NOT NULL,
    key        TEXT NOT NULL,
    hypervisor TEXT NOT NULL,
    verb       TEXT NOT NULL,
    state      TEXT NOT NULL DEFAULT 'planned',
    detail     TEXT,
    at_ms      INTEGER,
    PRIMARY KEY (run, id)
) STRICT, WITHOUT ROWID;

-- One mutating call each: intended, accepted, finished.
CREATE TABLE steps (
    id          INTEGER PRIMARY KEY,
    -- The row of `entries` that records the intent.
    seq         INTEGER NOT NULL,
    run         TEXT NOT NULL REFERENCES runs (id),
    action      TEXT NOT NULL,
    step        INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    key         TEXT NOT NULL,
    hypervisor  TEXT NOT NULL,
    native_id   TEXT NOT NULL,
    op          TEXT NOT NULL,
    -- Whether the call brings an object into being.
    birth       INTEGER NOT NULL,
    intent      TEXT NOT NULL,
    before      TEXT,
    begun_ms    INTEGER NOT NULL,
    task        TEXT,
    accepted_ms INTEGER,
    outcome     TEXT,
    detail      TEXT,
    after       TEXT,
    finished_ms INTEGER,
    -- The op is part of it, because a step's fallback is another call.
    UNIQUE (run, action, step, attempt, op)
) STRICT;
CREATE INDEX steps_open ON steps (run) WHERE outcome IS NULL OR outcome = 'unknown';
CREATE INDEX steps_seq ON steps (seq);

-- What the journal remembers as ours. A row stays when the object goes, so that
-- births from before its end do not read as open.
CREATE TABLE owned (
    project    TEXT NOT NULL,
    key        TEXT NOT NULL,
    hypervisor TEXT NOT NULL,
    native_id  TEXT NOT NULL,
    run        TEXT NOT NULL,
    -- The last row of `entries` that began or ended the ownership.
    seq        INTEGER NOT NULL,
    ours       INTEGER NOT NULL,
    PRIMARY KEY (project, key, hypervisor, native_id)
) STRICT, WITHOUT ROWID;

-- The chain. All that a row says is in `body`, which its hash covers; the other
-- columns are read out of it and are not stored.
CREATE TABLE entries (
    seq  INTEGER PRIMARY KEY,
    prev TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,
    run  TEXT GENERATED ALWAYS AS (json_extract(body, '$.run')) VIRTUAL,
    key  TEXT GENERATED ALWAYS AS (json_extract(body, '$.key')) VIRTUAL
) STRICT;
CREATE INDEX entries_by_run ON entries (run);
CREATE INDEX entries_by_key ON entries (key) WHERE key IS NOT NULL;

CREATE TRIGGER entries_are_not_edited BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'entries of the journal are never edited'); END;
CREATE TRIGGER entries_are_not_deleted BEFORE DELETE ON entries
BEGIN SELECT RAISE(ABORT, 'entries of the journal are never deleted'); END;
CREATE TRIGGER entries_are_appended BEFORE INSERT ON entries
WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM entries)
BEGIN SELECT RAISE(ABORT, 'entries of the journal are appended in order'); END;

CREATE TABLE inventories (
    project    TEXT NOT NULL,
    hypervisor TEXT NOT NULL,
    at_ms      INTEGER NOT NULL,
    body       TEXT NOT NULL,
    PRIMARY KEY (project, hypervisor)
) STRICT;

-- A row stays when the lease is released, so that the epoch never goes back.
CREATE TABLE leases (
    project    TEXT NOT NULL,
    hypervisor TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    run        TEXT NOT NULL,
    who        TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    host       TEXT NOT NULL,
    expires_ms INTEGER NOT NULL,
    released   INTEGER NOT NULL,
    PRIMARY KEY (project, hypervisor)
) STRICT, WITHOUT ROWID;

-- What each entry of the YAML asked for when it was last seen to be so.
CREATE TABLE settled (
    project TEXT NOT NULL,
    key     TEXT NOT NULL,
    digest  TEXT NOT NULL,
    PRIMARY KEY (project, key)
) STRICT, WITHOUT ROWID;
