import { isTopicName, isTopicPattern } from "../../internal/topic_name.ts";
import { decodeUtf8 } from "../../internal/utf8.ts";
import { isEventId, isGroupName, isOrderingKey, isSlowPolicy } from "../broker_input.ts";
import type { BrokerStore, StoreBatch, StoredBroker, StoredEvent, StoredGroup } from "./broker_store.ts";
import { createEpoch } from "./position.ts";

/** What SQLite keeps in a column. */
export type SqliteValue = string | number | null | Uint8Array;

/** A prepared statement, as far as {@linkcode sqliteStore} uses it. */
export interface SqliteStatementLike {
  /** Runs it for what it does. */
  run(...values: SqliteValue[]): unknown;
  /** Runs it for its rows. */
  all(...values: SqliteValue[]): unknown[];
  /** Gives up what it holds, where a database that is closed does not: Bun's keeps its lock for its statements. */
  finalize?(): void;
}

/** A database: `DatabaseSync` of `node:sqlite`, or `Database` of `bun:sqlite`. */
export interface SqliteLike {
  /** Runs statements. */
  exec(sql: string): unknown;
  /** Prepares one statement. */
  prepare(sql: string): SqliteStatementLike;
  /** Closes it. */
  close(): void;
}

/**
 * Keeps what a broker moves in a SQLite database.
 *
 * It takes the database for itself as long as it is open, and has what it wrote on the disk (`synchronous=FULL`, with a
 * write-ahead log). The file should be nobody else's: what is signed is readable in it. `brokerStore()` of the runtimes
 * opens a file that way.
 *
 * @example A broker in a file
 * ```ts ignore
 * import { memoryBroker, sqliteStore } from "@postern/rpc/broker";
 * import { DatabaseSync } from "node:sqlite";
 *
 * await using broker = memoryBroker({ store: sqliteStore(new DatabaseSync("broker.db")) });
 * ```
 *
 * @param database The database: an empty one, or one that this function made. It is closed with the store.
 * @returns The store.
 * @throws {Error} The database is in use, damaged, of another program, or of another version of this one.
 */
export function sqliteStore(database: SqliteLike): BrokerStore {
  try {
    setUp(database);
    return storeIn(database);
  } catch (error) {
    database.close();
    throw asUnusable(error);
  }
}

function storeIn(database: SqliteLike): BrokerStore {
  const statements = prepareAll(database);
  let closed = false;
  const close = () => {
    if (closed) return;
    closed = true;
    for (const statement of Object.values(statements) as SqliteStatementLike[]) statement.finalize?.();
    database.close();
  };
  return {
    load() {
      try {
        return loadFrom(database);
      } catch (error) {
        close();
        throw asUnusable(error);
      }
    },
    write(batch) {
      database.exec("BEGIN IMMEDIATE");
      try {
        writeBatch(statements, batch);
        database.exec("COMMIT");
      } catch (error) {
        rollBack(database);
        throw error;
      }
    },
    // deno-lint-ignore require-await -- a failure is a rejection
    async [Symbol.asyncDispose]() {
      close();
    },
  };
}

function setUp(database: SqliteLike): void {
  try {
    // The lock of the first transaction stays.
    database.exec("PRAGMA locking_mode = EXCLUSIVE");
    database.exec("PRAGMA journal_mode = WAL");
    database.exec("PRAGMA synchronous = FULL");
    database.exec("PRAGMA trusted_schema = OFF");
    database.exec("BEGIN EXCLUSIVE");
  } catch (cause) {
    const isInUse = cause instanceof Error && /locked|busy/i.test(cause.message);
    throw unusable(isInUse ? "another broker uses it" : "it cannot be opened, or is none", cause);
  }
  try {
    if (isNew(database)) create(database);
    assertOurs(database);
    database.exec("COMMIT");
  } catch (error) {
    rollBack(database);
    throw error;
  }
}

function isNew(database: SqliteLike): boolean {
  const isEmpty = numberOf(database, "SELECT count(*) AS value FROM sqlite_schema") === 0;
  return isEmpty && numberOf(database, "SELECT application_id AS value FROM pragma_application_id") === 0;
}

function create(database: SqliteLike): void {
  database.exec(SCHEMA);
  database.exec(`PRAGMA application_id = ${APPLICATION}`);
  database.exec(`PRAGMA user_version = ${VERSION}`);
  database.exec(`INSERT INTO broker (one, epoch, next) VALUES (1, '${createEpoch()}', 1)`); // hexadecimal digits only
}

function assertOurs(database: SqliteLike): void {
  const application = numberOf(database, "SELECT application_id AS value FROM pragma_application_id");
  if (application !== APPLICATION) throw unusable("it is of another program");
  const version = numberOf(database, "SELECT user_version AS value FROM pragma_user_version");
  if (version !== VERSION) throw unusable(`its version is ${version}, wanted ${VERSION}`);
  const found = rowsOf(database, "PRAGMA quick_check").map((row) => Object.values(row)[0]);
  if (found.length !== 1 || found[0] !== "ok") throw unusable("it is damaged");
}

interface Statements {
  readonly event: SqliteStatementLike;
  readonly group: SqliteStatementLike;
  readonly done: SqliteStatementLike;
  readonly passed: SqliteStatementLike;
  readonly removed: SqliteStatementLike;
  readonly removedDone: SqliteStatementLike;
  readonly forgotten: SqliteStatementLike;
  readonly next: SqliteStatementLike;
}

function prepareAll(database: SqliteLike): Statements {
  return {
    event: database.prepare(
      "INSERT INTO message (position, topic, id, ordering_key, at_ms, wide, event) VALUES (?, ?, ?, ?, ?, ?, ?)",
    ),
    group: database.prepare(
      `INSERT INTO place (name, pattern, first, slow, idle_since_ms) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (name, pattern)
       DO UPDATE SET first = excluded.first, slow = excluded.slow, idle_since_ms = excluded.idle_since_ms`,
    ),
    done: database.prepare("INSERT OR IGNORE INTO done (name, pattern, position) VALUES (?, ?, ?)"),
    passed: database.prepare("DELETE FROM done WHERE name = ? AND pattern = ? AND position < ?"),
    removed: database.prepare("DELETE FROM place WHERE name = ? AND pattern = ?"),
    removedDone: database.prepare("DELETE FROM done WHERE name = ? AND pattern = ?"),
    forgotten: database.prepare("DELETE FROM message WHERE position < ?"),
    next: database.prepare("UPDATE broker SET next = ?"),
  };
}

function writeBatch(statements: Statements, { events, groups, removed, first, end }: StoreBatch): void {
  for (const { position, topic, id, orderingKey, atMs, event } of events) {
    const wide = !event.isWellFormed();
    const bytes = wide ? wideBytes(event) : encoder.encode(event);
    statements.event.run(position, topic, id, orderingKey ?? null, atMs, wide ? 1 : 0, bytes);
  }
  for (const { name, pattern } of removed) {
    statements.removed.run(name, pattern);
    statements.removedDone.run(name, pattern);
  }
  for (const { name, pattern, from, done, slow, idleSinceMs } of groups) {
    statements.group.run(name, pattern, from, slow, idleSinceMs);
    for (const position of done) statements.done.run(name, pattern, position);
    statements.passed.run(name, pattern, from);
  }
  statements.forgotten.run(first);
  statements.next.run(end);
}

function loadFrom(database: SqliteLike): StoredBroker {
  const [broker] = rowsOf(database, "SELECT epoch, next FROM broker");
  const { epoch, next } = broker ?? {};
  if (typeof epoch !== "string" || !/^[\da-f]{8}$/.test(epoch) || !isWhole(next)) throw unusable("it has no head");
  const events = rowsOf(database, "SELECT * FROM message ORDER BY position").map(eventOf);
  events.forEach(({ position, atMs }, index) => {
    if (position !== next - events.length + index) throw unusable("messages are missing");
    if (index > 0 && atMs < events[index - 1]!.atMs) throw unusable("messages are out of order");
  });
  const groups = rowsOf(database, "SELECT * FROM place").map((row) => groupOf(database, row));
  if (groups.some(({ from }) => from > next)) throw unusable("a group is ahead of all messages");
  return { epoch, end: next, events, groups };
}

type Row = Readonly<Record<string, unknown>>;

function eventOf({ position, topic, id, ordering_key, at_ms, wide, event }: Row): StoredEvent {
  const orderingKey = ordering_key ?? undefined;
  const isKey = orderingKey === undefined || isOrderingKey(orderingKey);
  if (!isWhole(position) || !isTopicName(topic) || !isEventId(id) || !isKey || !isWhole(at_ms)) throw malformed();
  if (!(event instanceof Uint8Array)) throw malformed();
  return { position, topic, id, event: wide ? wideText(event) : decodeUtf8(event), orderingKey, atMs: at_ms };
}

function groupOf(database: SqliteLike, { name, pattern, first, slow, idle_since_ms }: Row): StoredGroup {
  if (!isGroupName(name) || !isTopicPattern(pattern) || !isWhole(first) || !isWhole(idle_since_ms)) throw malformed();
  if (!isSlowPolicy(slow)) throw malformed();
  const sql = "SELECT position FROM done WHERE name = ? AND pattern = ? ORDER BY position";
  const done = rowsOf(database, sql, name, pattern).map((row) => row["position"]);
  if (!done.every(isWhole)) throw malformed();
  return { name, pattern, from: first, slow, done, idleSinceMs: idle_since_ms };
}

const isWhole = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function rowsOf(database: SqliteLike, sql: string, ...values: SqliteValue[]): Row[] {
  const statement = database.prepare(sql);
  try {
    return statement.all(...values) as Row[];
  } finally {
    statement.finalize?.();
  }
}

const numberOf = (database: SqliteLike, sql: string) => rowsOf(database, sql)[0]?.["value"];

function rollBack(database: SqliteLike): void {
  try {
    database.exec("ROLLBACK");
  } catch {
    // What failed has ended the transaction already.
  }
}

/** A text with halves of characters, which no UTF-8 carries; SQLite's own texts end at the first zero for some readers. */
function wideBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(2 * text.length);
  const view = new DataView(bytes.buffer);
  for (let index = 0; index < text.length; index++) view.setUint16(2 * index, text.charCodeAt(index));
  return bytes;
}

function wideText(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let text = "";
  for (let index = 0; index + 1 < bytes.length; index += 2) text += String.fromCharCode(view.getUint16(index));
  return text;
}

const UNUSABLE = "Cannot use the broker's database";

function unusable(why: string, cause?: unknown): Error {
  return new Error(`${UNUSABLE}: ${why}`, cause === undefined ? undefined : { cause });
}

function asUnusable(error: unknown): unknown {
  const isOurs = error instanceof Error && error.message.startsWith(UNUSABLE);
  return isOurs ? error : unusable("it is damaged", error);
}

const malformed = () => unusable("what it holds is malformed");

const encoder = /* @__PURE__ */ new TextEncoder();

/** "Post" in ASCII: files of other programs have other numbers, or none. */
const APPLICATION = 0x506f7374;
const VERSION = 1;

const SCHEMA = `
CREATE TABLE broker (one INTEGER PRIMARY KEY CHECK (one = 1), epoch TEXT NOT NULL, next INTEGER NOT NULL) STRICT;
CREATE TABLE message (
  position INTEGER PRIMARY KEY,
  topic TEXT NOT NULL,
  id TEXT NOT NULL,
  ordering_key TEXT,
  at_ms INTEGER NOT NULL,
  wide INTEGER NOT NULL,
  event BLOB NOT NULL
) STRICT;
CREATE TABLE place (
  name TEXT NOT NULL,
  pattern TEXT NOT NULL,
  first INTEGER NOT NULL,
  slow TEXT NOT NULL,
  idle_since_ms INTEGER NOT NULL,
  PRIMARY KEY (name, pattern)
) STRICT, WITHOUT ROWID;
CREATE TABLE done (
  name TEXT NOT NULL,
  pattern TEXT NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (name, pattern, position)
) STRICT, WITHOUT ROWID;
`;
