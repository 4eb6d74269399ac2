import assert from "node:assert/strict";
import { test } from "node:test";
import { refused } from "./_conformance.ts";
import { type EtcdAnswer, failing, header, hurried, kv, lyingEtcd, watchStream } from "./_etcd.ts";
import { watch } from "./_watching.ts";

const A = "a.v1";
const NOTHING = { header: header(5) };
const CREATED = { header: header(5), created: true };
const range: EtcdAnswer = ({ token }) => token && { ...NOTHING, kvs: [kv("a", "one")] };
const put = (name: string, value: string, revision: number) => ({ kv: kv(name, value, revision) });

test("watch() goes on behind the last change that it knows when its answer breaks off", async () => {
  // The header is ahead of the events: more of them were to come.
  const lost = [CREATED, { header: header(9), events: [put("b", "two", 7)] }];
  const found = [{ header: header(9), created: true }, { header: header(9), events: [put("c", "three", 9)] }];
  const etcd = lyingEtcd({
    "kv/range": range,
    watch: ({ message }) => {
      const { start_revision } = message.create_request as { start_revision: string };
      if (start_revision === "6") return watchStream(lost, { ends: true });
      return start_revision === "8" ? watchStream(found) : failing(500, 2);
    },
  });
  await using watching = watch(etcd.registry, A);
  await watching.until(["one"]);
  await hurried(() => watching.until(["one", "two", "three"]));
});

test("watch() gives up when its answer breaks off again and again", async () => {
  const { registry, paths } = lyingEtcd({ "kv/range": range, watch: () => watchStream([CREATED], { ends: true }) });
  await using watching = watch(registry, A);
  await watching.until(["one"]);
  await hurried(() => refused(watching.next(), "unreachable"));
  assert.equal(paths().filter((path) => path === "watch").length, 7);
});

test("watch() ends when its signal aborts, whatever it waits for", async () => {
  for (const stuck of ["probe", "auth/authenticate", "kv/range", "watch"]) {
    let reach = () => {};
    const reached = new Promise<void>((resolve) => reach = resolve);
    const { registry } = lyingEtcd({
      "kv/range": range,
      [stuck]: ({ token }) => {
        if (stuck === "kv/range" && !token) return undefined;
        reach();
        return new Promise(() => {});
      },
    });
    const watching = watch(registry, A);
    if (stuck === "watch") await watching.until(["one"]);
    const waits = await hurried(async () => {
      const ended = watching.ends(() => {});
      await reached;
      watching.abort();
      await ended;
    });
    assert.ok(!waits.includes(100));
  }
});

test("watch() fails at once when it cannot begin", async () => {
  const { registry, calls } = lyingEtcd({ "kv/range": ({ token }) => token && failing(503, 14) });
  await using watching = watch(registry, A);
  await refused(watching.next(), "unreachable");
  assert.equal(calls.length, 3);
});

test("watch() takes a change that comes in parts as one", async () => {
  const parts = [
    { header: header(8), fragment: true, events: [put("b", "two", 8)] },
    { header: header(8), events: [put("c", "three", 8), { type: "DELETE", kv: { key: kv("a", "").key } }] },
  ];
  const { registry } = lyingEtcd({ "kv/range": range, watch: () => watchStream([CREATED, ...parts]) });
  await using watching = watch(registry, A);
  await watching.until(["one"]);
  assert.deepEqual(await watching.next(), ["two", "three"]);
});

test("watch() reads everything again from an etcd that was set back", async () => {
  let reads = 0;
  const { registry } = lyingEtcd({
    "kv/range": ({ token }) =>
      token && (reads++ ? { header: header(2), kvs: [kv("z", "restored")] } : range({ token } as never)),
    watch: () => watchStream([{ header: header(2), created: true }]),
  });
  await using watching = watch(registry, A);
  await watching.until(["one"]);
  await watching.until(["restored"]);
});

test("watch() reads everything again when the changes are forgotten", async () => {
  const forgotten = { header: {}, canceled: true, compact_revision: "40" };
  const created = { header: header(50), created: true };
  for (const answer of [[created, forgotten], [forgotten], [{ ...created, ...forgotten }]]) {
    let reads = 0;
    const { registry } = lyingEtcd({
      "kv/range": ({ token }) => token && { header: header(reads++ ? 50 : 5), kvs: [kv("a", `read ${reads}`)] },
      watch: ({ message }) => {
        const { start_revision } = message.create_request as { start_revision: string };
        return watchStream(start_revision === "6" ? answer : [created]);
      },
    });
    await using watching = watch(registry, A);
    await watching.until(["read 1"]);
    await watching.until(["read 2"]);
  }
});

test("watch() asks for another token when its own does not count any more", async () => {
  const reason = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token";
  const canceled = { header: header(5), created: true, canceled: true, cancel_reason: reason };
  const { registry } = lyingEtcd({
    "kv/range": range,
    watch: ({ token }) =>
      watchStream(token === "t1" ? [canceled] : [CREATED, { header: header(6), events: [put("b", "two", 6)] }]),
  });
  await using watching = watch(registry, A);
  await watching.until(["one", "two"]);
});

test("watch() fails when the user may not watch", async () => {
  const reason = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
  const canceled = { header: header(5), created: true, canceled: true, cancel_reason: reason };
  const { registry, paths } = lyingEtcd({ "kv/range": range, watch: () => watchStream([canceled]) });
  await using watching = watch(registry, A);
  await watching.until(["one"]);
  await refused(watching.next(), "refused");
  assert.equal(paths().filter((path) => path === "watch").length, 1);
});

test("watch() reads no message to its end that has none, and not more records than anybody does", async () => {
  const endless = () =>
    new Response(
      new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1_048_576).fill(0x20)) }),
    );
  const events = Array.from({ length: 16_400 }, (_, at) => put(`i${at}`, "x", 6));
  for (const answer of [endless, () => watchStream([CREATED, { header: header(6), events }])]) {
    const { registry } = lyingEtcd({ "kv/range": range, watch: answer });
    await using watching = watch(registry, A);
    await watching.until(["one"]);
    await refused(watching.next(), "too_many");
  }
});

test("watch() begins anew after a minute, and loses nothing", async () => {
  let watches = 0;
  const etcd = lyingEtcd({
    "kv/range": range,
    watch: ({ init }) => {
      const more = watches++ ? [{ header: header(6), events: [put("b", "two", 6)] }] : [];
      return watchStream([CREATED, ...more], { breaksOn: init.signal! });
    },
  });
  const waits = await hurried(async () => {
    await using watching = watch(etcd.registry, A);
    await watching.until(["one"]);
    await watching.until(["one", "two"]);
  });
  assert.ok(waits.includes(60_000));
  assert.ok(!waits.includes(100), "It took the minute for a failure");
  assert.equal(watches, 2);
});

test("watch() goes on for as long as there is something new each time", async () => {
  let watches = 0;
  const { registry } = lyingEtcd({
    "kv/range": range,
    watch: () => {
      const revision = 6 + watches++;
      return watchStream([CREATED, { header: header(revision), events: [put("b", `${revision}`, revision)] }], {
        ends: true,
      });
    },
  });
  await using watching = watch(registry, A);
  await hurried(() => watching.until(["one", "20"]));
});

test("watch() asks again for a change of which only a part came", async () => {
  const part = { header: header(8), fragment: true, events: [put("b", "two", 8)] };
  const whole = { header: header(8), events: [put("b", "two", 8), put("c", "three", 8)] };
  const asked: string[] = [];
  const { registry } = lyingEtcd({
    "kv/range": range,
    watch: ({ message }) => {
      asked.push((message.create_request as { start_revision: string }).start_revision);
      return asked.length === 1 ? watchStream([CREATED, part], { ends: true }) : watchStream([CREATED, whole]);
    },
  });
  await using watching = watch(registry, A);
  await hurried(() => watching.until(["one", "two", "three"]));
  assert.deepEqual(asked, ["6", "6"]);
});

test("watch() begins again when etcd ends it without a reason that it knows", async () => {
  let watches = 0;
  const { registry } = lyingEtcd({
    "kv/range": range,
    watch: () => {
      const more = watches++ ? { header: header(6), events: [put("b", "two", 6)] } : { header: {}, canceled: true };
      return watchStream([CREATED, more]);
    },
  });
  await using watching = watch(registry, A);
  const waits = await hurried(() => watching.until(["one", "two"]));
  assert.ok(waits.includes(100), "It waited for the minute to be over");
});

test("watch() leaves out what is too long for a record", async () => {
  const events = [put("b", "x".repeat(8_193), 6), put("c", "three", 6)];
  const { registry } = lyingEtcd({
    "kv/range": range,
    watch: () => watchStream([CREATED, { header: header(6), events }]),
  });
  await using watching = watch(registry, A);
  await watching.until(["one", "three"]);
});

test("watch() ends without an error when its signal aborts, and lets go of what it read", async () => {
  const signals: AbortSignal[] = [];
  const { registry, calls } = lyingEtcd({
    "kv/range": range,
    watch: ({ init }) => {
      signals.push(init.signal!);
      return watchStream([CREATED]);
    },
  });
  const watching = watch(registry, A);
  await watching.until(["one"]);
  await watching.ends(() => watching.abort());
  assert.ok(signals.every(({ aborted }) => aborted));

  const before = calls.length;
  const iterator = registry.watch(A, { signal: AbortSignal.abort() })[Symbol.asyncIterator]();
  assert.equal((await iterator.next()).done, true);
  assert.equal(calls.length, before);
});

test("watch() ends with unreachable after some readings where etcd says to each that its changes are forgotten", async () => {
  const forgotten = { header: {}, canceled: true, compact_revision: "40" };
  for (const answer of [[CREATED, forgotten], [forgotten]]) {
    let [reads, rest] = [0, 0];
    const { registry } = lyingEtcd({
      "kv/range": ({ token }) => token && { ...NOTHING, kvs: [kv("a", `read ${++reads}`)] },
      watch: () => watchStream(answer),
    });
    await using watching = watch(registry, A);
    await hurried(async () => {
      await watching.until(["read 1"]);
      for (rest = 0; rest < 100; rest++) {
        const error = await watching.next().then(() => undefined, (thrown) => thrown);
        if (error === undefined) continue;
        assert.equal(error.reason, "unreachable");
        break;
      }
    });
    assert.ok(rest < 100, "it goes on for ever");
    assert.equal(reads, 7);
  }
});
