import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import type { Broker } from "../../src/broker/broker.ts";
import { type BrokerStore, memoryBroker, type MemoryBrokerOptions, type StoredGroup } from "../../src/broker/mod.ts";
import { brokerStore } from "../../src/runtime/deno.ts";
import { manualClock } from "./_clock.ts";
import { brokerConformance } from "./_conformance.ts";
import { events, publish, reader, refused } from "./_conformance_rig.ts";

brokerConformance("memoryBroker() with sqliteStore()", async () => {
  const clock = manualClock();
  const folder = await temporary();
  const broker = memoryBroker({ store: await brokerStore(folder.file), now: clock.now, clock });
  return {
    broker,
    another: () => Promise.resolve(broker),
    clock,
    async [Symbol.asyncDispose]() {
      await broker[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
});

test("memoryBroker() with a store goes on after a restart where it was", async () => {
  await using folder = await temporary();
  const text = "zero \0, half \ud800, whole \u{1f600}";
  {
    await using broker = await opened(folder.file);
    await using group = await reader(broker, "a.>", { group: "g" });
    await publish(broker, "a.b", ...events(6));
    await broker.publish({ topic: "a.c", id: "7", event: text, orderingKey: "Zoë" });
    const deliveries = [];
    for (let count = 0; count < 5; count++) deliveries.push(await group.next());
    for (const index of [0, 1, 3]) deliveries[index]!.ack(); // "3" and "5" are out
  }
  await using broker = await opened(folder.file);
  await using group = await reader(broker, "a.>", { group: "g" });
  assert.deepEqual(await group.take(3), ["3", "5", "6"]);
  const last = await group.next();
  assert.deepEqual([last.topic, last.event, last.orderingKey], ["a.c", text, "Zoë"]);
  last.ack();
  await broker.publish({ topic: "a.b", id: "a.b/6", event: "again" }); // an id of before
  await publish(broker, "a.b", "8");
  assert.deepEqual(await group.take(1), ["8"]);
});

test("memoryBroker() with a store knows positions of before its restart", async () => {
  await using folder = await temporary();
  let after = "";
  {
    await using broker = await opened(folder.file);
    await using all = await reader(broker, "a.b");
    await publish(broker, "a.b", "1", "2");
    after = (await all.next()).position!;
  }
  await using broker = await opened(folder.file);
  await publish(broker, "a.b", "3");
  await using all = await reader(broker, "a.b", { start: { after } });
  assert.deepEqual(await all.take(2), ["2", "3"]);
});

test("memoryBroker() with a store forgets what it forgot, and counts on, after a restart", async () => {
  await using folder = await temporary();
  const positions: string[] = [];
  for (const event of ["1", "2", "3"]) {
    await using broker = await opened(folder.file, { maxMessages: 1 });
    await publish(broker, "a.b", event);
    await using all = await reader(broker, "a.b", { start: "earliest" });
    const delivery = await all.next();
    assert.equal(delivery.event, event);
    positions.push(delivery.position!);
  }
  assert.equal(new Set(positions).size, 3);
  assert.equal(rowsIn(folder.file, "message"), 1);
});

test("memoryBroker() with a store lets publishers go on after a restart where a group let them before", async () => {
  await using folder = await temporary();
  {
    await using broker = await opened(folder.file, { maxMessages: 3 });
    await using _ = await reader(broker, "a.b", { group: "g", slow: "drop_oldest" });
  }
  await using broker = await opened(folder.file, { maxMessages: 3 });
  await publish(broker, "a.b", ...events(5));
  await using group = await reader(broker, "a.b", { group: "g" });
  assert.deepEqual(await group.take(3), ["3", "4", "5"]);
});

test("memoryBroker() with a store forgets what a group was done with, once it has passed or is gone", async () => {
  await using folder = await temporary();
  const clock = manualClock();
  const options = { now: clock.now, groupIdleMs: 1_000 };
  const rounds = [
    { published: events(3), taken: 3, acknowledged: [1, 2], rows: 2 },
    { published: [], taken: 1, acknowledged: [0], rows: 2 }, // nobody has looked past the first yet
    { published: events(2, 4), taken: 2, acknowledged: [1], rows: 1 },
  ];
  for (const { published, taken, acknowledged, rows } of rounds) {
    {
      await using broker = await opened(folder.file, options);
      await using group = await reader(broker, "a.b", { group: "g" });
      await publish(broker, "a.b", ...published);
      const deliveries = [];
      while (deliveries.length < taken) deliveries.push(await group.next());
      for (const index of acknowledged) deliveries[index]!.ack();
    }
    assert.equal(rowsIn(folder.file, "done"), rows);
  }
  clock.pass(1_000);
  {
    await using broker = await opened(folder.file, options);
    await using _other = await reader(broker, "a.b");
  }
  assert.deepEqual([rowsIn(folder.file, "done"), rowsIn(folder.file, "place")], [0, 0]);
});

test("memoryBroker() with a store forgets a group that was idle for too long", async () => {
  await using folder = await temporary();
  const clock = manualClock();
  const options = { now: clock.now, groupIdleMs: 1_000 };
  {
    await using broker = await opened(folder.file, options);
    await using _group = await reader(broker, "a.b", { group: "g" });
    await publish(broker, "a.b", "1");
  }
  clock.pass(1_000);
  for (const event of ["2", "3"]) {
    await using broker = await opened(folder.file, options);
    await using group = await reader(broker, "a.b", { group: "g" }); // new, so what was before is not in it
    await publish(broker, "a.b", event);
    assert.deepEqual(await group.take(1), [event]);
  }
});

test("memoryBroker() with a store counts from its start how long a group is idle that was there before a crash", async () => {
  const clock = manualClock();
  const options = { now: clock.now, groupIdleMs: 1_000 };
  const groups: StoredGroup[] = [];
  const before = memoryBroker({ ...options, store: fakeStore(() => {}, (group) => groups.push(group)) });
  const first = await reader(before, "a.b", { group: "g" });
  await first.leave();
  clock.pass(999);
  await using _second = await reader(before, "a.b", { group: "g" });
  await publish(before, "a.b", "1"); // and then it crashed
  clock.pass(10_000);
  const [crashed] = groups.slice(-1);
  const event = { position: 1, topic: "a.b", id: "1", event: "1", orderingKey: undefined, atMs: clock.now() };
  const stored = { epoch: "00000000", end: 2, events: [event], groups: [crashed!] };
  await using after = memoryBroker({ ...options, store: { ...fakeStore(() => {}), load: () => stored } });
  clock.pass(999);
  await using group = await reader(after, "a.b", { group: "g" });
  assert.deepEqual(await group.take(1), ["1"]);
  await before[Symbol.asyncDispose]();
});

test("publish() gives nothing to anybody before it is stored", async () => {
  const written: string[] = [];
  await using broker = memoryBroker({ store: fakeStore((event) => written.push(event)) });
  await using all = await reader(broker, "a.b");
  const publishing = Promise.all(events(3).map((event) => publish(broker, "a.b", event)));
  assert.deepEqual(written, []);
  const first = await all.next();
  assert.deepEqual([first.event, written], ["1", events(3)]);
  await publishing;
});

test("publish() is refused when it cannot be stored, and can be tried again", async () => {
  let fails = true;
  const store = fakeStore(() => {
    if (fails) throw new Error("The disk is full");
  });
  await using broker = memoryBroker({ store });
  await using all = await reader(broker, "a.b");
  const tries = ["1", "2"].map((event) => refused(publish(broker, "a.b", event), "unreachable"));
  await using late = await reader(broker, "a.b");
  await Promise.all(tries);
  fails = false;
  await publish(broker, "a.b", "2", "1");
  assert.deepEqual([await all.take(2), await late.take(2)], [["2", "1"], ["2", "1"]]);
});

test("publish() forgets nothing that is not stored yet", async () => {
  let fails = true;
  const written: string[] = [];
  const store = fakeStore((event) => {
    if (fails) throw new Error("The disk is full");
    written.push(event);
  });
  await using broker = memoryBroker({ store, maxMessages: 1 });
  const tries = ["1", "2"].map((event) => refused(publish(broker, "a.b", event), "unreachable"));
  await Promise.all(tries);
  fails = false;
  await Promise.all(events(3).map((event) => publish(broker, "a.b", event)));
  assert.deepEqual(written, events(3));
  await using all = await reader(broker, "a.b", { start: "earliest" });
  assert.deepEqual(await all.take(1), ["3"]);
});

test("publish() of an id that is on its way waits for it to be stored", async () => {
  await using broker = memoryBroker({
    store: fakeStore(() => {
      throw new Error("The disk is full");
    }),
  });
  const tries = ["1", "1"].map((event) => refused(publish(broker, "a.b", event), "unreachable"));
  await Promise.all(tries);
});

test("dispose stores what is left", async () => {
  const written: string[] = [];
  const broker = memoryBroker({ store: fakeStore((event) => written.push(event)) });
  const publishing = publish(broker, "a.b", "1");
  await broker[Symbol.asyncDispose]();
  await publishing;
  assert.deepEqual(written, ["1"]);
});

test("brokerStore() has every acknowledged message after a kill", async () => {
  await using folder = await temporary();
  const publisher = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--allow-all", new URL("./store_publisher.ts", import.meta.url).href, folder.file],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const kept: string[] = [];
  let rest = "";
  for await (const chunk of publisher.stdout.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop()!;
    kept.push(...lines);
    if (kept.length > 500 && kept.length - lines.length <= 500) publisher.kill("SIGKILL");
  }
  assert.equal((await publisher.status).signal, "SIGKILL");
  await using broker = await opened(folder.file);
  await using group = await reader(broker, "a.b", { group: "g" });
  const missing = new Set(kept);
  const seen: string[] = [];
  while (missing.size > 0) {
    const [event] = await group.take(1);
    seen.push(event!);
    missing.delete(event!);
  }
  for (const from of ["one", "two", "three"]) {
    const own = seen.filter((event) => event.startsWith(`${from}-`));
    assert.deepEqual(own, own.map((_, index) => `${from}-${index}`));
  }
});

test("brokerStore() makes files that only their owner can open", async () => {
  await using folder = await temporary();
  await using broker = await opened(folder.file);
  await publish(broker, "a.b", "1");
  const modes = [...Deno.readDirSync(folder.path)].map(({ name }) => {
    return Deno.statSync(`${folder.path}/${name}`).mode! & 0o777;
  });
  assert.ok(modes.length >= 2, "there is no log beside the file");
  assert.ok(modes.every((mode) => mode === 0o600), `the modes are ${modes.map((mode) => mode.toString(8))}`);
});

test("brokerStore() refuses a second broker on its file", async () => {
  await using folder = await temporary();
  await using _broker = await opened(folder.file);
  await assert.rejects(brokerStore(folder.file), /another broker uses it/);
});

test("brokerStore() refuses files that are not its own", async () => {
  const make: Record<string, [(file: string) => void, RegExp]> = {
    "open to others": [(file) => Deno.writeTextFileSync(file, "", { mode: 0o644 }), /others may open/],
    "a link": [(file) => {
      Deno.writeTextFileSync(`${file}.real`, "", { mode: 0o600 });
      Deno.symlinkSync(`${file}.real`, file);
    }, /symbolic link/],
    "a folder": [(file) => Deno.mkdirSync(file), /not a regular file/],
    "no database": [(file) => Deno.writeTextFileSync(file, "x".repeat(8_192), { mode: 0o600 }), /is none|damaged/],
    "another program's": [(file) => alter(file, "CREATE TABLE other (a INTEGER)"), /another program/],
    "another program's, still empty": [(file) => alter(file, "PRAGMA application_id = 7"), /another program/],
  };
  for (const [what, [prepare, why]] of Object.entries(make)) {
    await using folder = await temporary();
    prepare(folder.file);
    await assert.rejects(brokerStore(folder.file), why, what);
  }
});

test("memoryBroker() refuses a database that is not whole", async () => {
  const changes: Record<string, [string, RegExp]> = {
    "another version": ["PRAGMA user_version = 2", /its version is 2/],
    "no head": ["DELETE FROM broker", /no head/],
    "a head that is none": ["UPDATE broker SET epoch = 'x y'", /no head/],
    "a gap": ["DELETE FROM message WHERE position = 2", /missing/],
    "a lost end": ["DELETE FROM message WHERE position = 3", /missing/],
    "a disorder": ["UPDATE message SET at_ms = 0 WHERE position = 2", /out of order/],
    "a name": ["UPDATE message SET topic = 'a.>'", /malformed/],
    "an id": ["UPDATE message SET id = ''", /malformed/],
    "a key": ["UPDATE message SET ordering_key = ''", /malformed/],
    "a time": ["UPDATE message SET at_ms = -1", /malformed/],
    "no UTF-8": ["UPDATE message SET event = x'ff'", /damaged/],
    "a group's name": ["UPDATE place SET name = ''", /malformed/],
    "a group's pattern": ["UPDATE place SET pattern = 'a..b'", /malformed/],
    "how a group is slow": ["UPDATE place SET slow = 'never'", /malformed/],
    "a group's time": ["UPDATE place SET idle_since_ms = -1", /malformed/],
    "a group that is ahead": ["UPDATE place SET first = 5", /ahead/],
    "a place that is none": ["INSERT INTO done VALUES ('g', 'a.b', -1)", /malformed/],
    "a missing table": ["DROP TABLE done", /damaged/],
  };
  for (const [what, [sql, why]] of Object.entries(changes)) {
    await using folder = await temporary();
    {
      await using broker = await opened(folder.file);
      await using _group = await reader(broker, "a.b", { group: "g" });
      await publish(broker, "a.b", ...events(3));
    }
    alter(folder.file, sql);
    await assert.rejects(opened(folder.file), why, what);
    alter(folder.file, "VACUUM"); // nobody holds it any more
  }
});

test("brokerStore() refuses a file whose pages were overwritten", async () => {
  await using folder = await temporary();
  {
    await using broker = await opened(folder.file);
    await publish(broker, "a.b", ...events(200));
  }
  const bytes = Deno.readFileSync(folder.file);
  bytes.fill(0xaa, 4_096, bytes.length - 100);
  Deno.writeFileSync(folder.file, bytes);
  await assert.rejects(opened(folder.file), /^Error: Cannot use the broker's database/);
});

async function opened(file: string, options: Omit<MemoryBrokerOptions, "store"> = {}): Promise<Broker> {
  return memoryBroker({ ...options, store: await brokerStore(file) });
}

/** A folder for one test. */
async function temporary() {
  const path = await Deno.makeTempDir({ prefix: "postern-broker-" });
  return {
    path,
    file: `${path}/broker.db`,
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}

/** Changes a database behind the broker's back. */
function alter(file: string, sql: string): void {
  if (!existsSync(file)) Deno.writeTextFileSync(file, "", { mode: 0o600 });
  const database = new DatabaseSync(file);
  database.exec(sql);
  database.close();
}

function rowsIn(file: string, table: string): unknown {
  const database = new DatabaseSync(file);
  const row = database.prepare(`SELECT count(*) AS count FROM ${table}`).get();
  database.close();
  return row!["count"];
}

function existsSync(file: string): boolean {
  try {
    return Deno.statSync(file).isFile;
  } catch {
    return false;
  }
}

/** A store of nothing. */
function fakeStore(write: (event: string) => void, move: (group: StoredGroup) => void = () => {}): BrokerStore {
  return {
    load: () => ({ epoch: "00000000", end: 1, events: [], groups: [] }),
    write(batch) {
      for (const { event } of batch.events) write(event);
      for (const group of batch.groups) move(group);
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
