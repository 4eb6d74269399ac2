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
  let reads = 0;
  const { registry } = lyingEtcd({
    "kv/range": ({ token }) => token && { header: header(reads++ ? 50 : 5), kvs: [kv("a", `read ${reads}`)] },
    watch: ({ message }) => {
      const { start_revision } = message.create_request as { start_revision: string };
      const end = start_revision === "6" ? [{ header: {}, canceled: true, compact_revision: "40" }] : [];
      return watchStream([{ ...CREATED, header: header(50) }, ...end]);
    },
  });
  await using watching = watch(registry, A);
  await watching.until(["read 1"]);
  await watching.until(["read 2"]);
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
  const { registry } = lyingEtcd({ "kv/range": range, watch: () => watchStream([canceled]) });
  await using watching = watch(registry, A);
  await watching.until(["one"]);
  await refused(watching.next(), "refused");
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
      const answer = watchStream(
        watches++ ? [CREATED, { header: header(6), events: [put("b", "two", 6)] }] : [CREATED],
      );
      init.signal!.addEventListener("abort", () => answer.body!.cancel().catch(() => {}));
      return answer;
    },
  });
  const waits = await hurried(async () => {
    await using watching = watch(etcd.registry, A);
    await watching.until(["one"]);
    await watching.until(["one", "two"]);
  });
  assert.ok(waits.includes(60_000));
  assert.equal(etcd.calls.filter(({ path }) => path === "watch").length, 2);
});
