import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_BYTES } from "./programs/target.ts";
import { connectRaw, HELLO, post, type RawConnection, request } from "./_raw.ts";
import { SERVED, startTarget, type Target } from "./_target.ts";

const HEAD = { "content-type": "application/json" };
const DECLARED = request("POST /greeter.v1/hello", { ...HEAD, "content-length": "4000" });
const CHUNKED = request("POST /greeter.v1/hello", { ...HEAD, "transfer-encoding": "chunked" });

/** The two ways to say that a body will come, and a bit of it. */
const SLOW = [
  { kind: "declared", head: DECLARED, bit: " " },
  { kind: "chunked", head: CHUNKED, bit: "1\r\n \r\n" },
] as const;

for (const runtime of SERVED) {
  for (const { kind, head, bit } of SLOW) {
    test(`T15 serve() on ${runtime} refuses a slow ${kind} body at the receive deadline and frees its place`, async () => {
      await using target = await startTarget(runtime, { receiveDeadlineMs: 1_000, maxConcurrentCalls: 1 });
      const seen = new Set<number>();
      let refused: Awaited<ReturnType<RawConnection["response"]>>;
      do {
        using slow = await connectRaw(target);
        await slow.send(head + bit);
        let answered = false;
        const answer = slow.response().finally(() => answered = true);
        // A byte each time an honest caller asks: the deadline is for the whole body, not for the next byte.
        while (!answered) {
          seen.add(await target.honest());
          await slow.send(bit);
        }
        refused = await answer;
      } while (refused?.status === 429); // an honest call had the only place just then
      assert.deepEqual([refused?.status, refused?.code], [504, "deadline_exceeded"]);
      assert.ok(seen.has(429), "the slow body held the only place");
      assert.equal(await target.honest(), 200);
    });
  }

  test(`T15 serve() on ${runtime} frees the place of a caller who leaves before the body that was announced`, async () => {
    await using target = await startTarget(runtime, { receiveDeadlineMs: 600_000, maxConcurrentCalls: 1 });
    let answered = 0;
    for (const { head, bit } of SLOW) {
      answered += await holdAndLeave(target, head + bit);
      answered += await untilStatus(target, 200);
    }
    const half = await connectRaw(target);
    await half.send(DECLARED + "{");
    await half.end();
    const answer = await half.response();
    assert.ok(!answer || answer.status >= 400, `${answer?.status}`);
    half[Symbol.dispose]();
    answered += await untilStatus(target, 200);
    assert.equal((await target.tally()).hellos, answered, "only the honest calls arrived");
  });

  test(`T15 serve() on ${runtime} refuses an announced body over the limit before a byte of it came`, async () => {
    await using target = await startTarget(runtime);
    using connection = await connectRaw(target);
    const answer = await connection.exchange(
      request("POST /greeter.v1/hello", { ...HEAD, "content-length": String(MAX_BYTES + 1) }),
    );
    assert.deepEqual([answer?.status, answer?.code], [429, "resource_exhausted"]);
    assert.equal(await target.honest(), 200);
    assert.equal((await target.tally()).hellos, 1);
  });

  test(`T15 serve() on ${runtime} refuses an unannounced body over the limit while it is being sent`, async () => {
    await using target = await startTarget(runtime);
    using connection = await connectRaw(target);
    const size = MAX_BYTES + 1;
    const answer = await connection.exchange(`${CHUNKED}${size.toString(16)}\r\n${"x".repeat(size)}\r\n`);
    assert.deepEqual([answer?.status, answer?.code], [429, "resource_exhausted"]);
    assert.equal(await target.honest(), 200);
    assert.equal((await target.tally()).hellos, 1);
  });

  test(`T15 serve() on ${runtime} refuses headers over 16 KiB, one large or many small`, async () => {
    await using target = await startTarget(runtime);
    for (const headers of FLOODS) {
      using connection = await connectRaw(target);
      const answer = await connection.exchange(post("/greeter.v1/hello", undefined, headers));
      // Deno's own limits are 100 headers and 64 KiB; Bun and Node stop at 16 KiB before we are asked.
      assert.ok(!answer || answer.status === 431 || answer.status === 400, `${answer?.status}`);
      if (answer?.code !== undefined) {
        assert.equal(answer.code, "resource_exhausted");
        assert.equal((await connection.exchange(HELLO))?.status, 200, "the call after");
      }
    }
    assert.equal(await target.honest(), 200);
  });

  test(`T15 serve() on ${runtime} serves an honest call beside 200 slow bodies, and its memory stays bounded`, async () => {
    await using target = await startTarget(runtime, { receiveDeadlineMs: 1_000 });
    await slowRound(target); // what a runtime sets aside for its first 200 connections is no leak
    const before = (await target.tally()).rssBytes;
    for (let round = 0; round < 2; round++) await slowRound(target);
    const grown = (await target.tally()).rssBytes - before;
    assert.ok(grown < 64 * MIB, `grew by ${Math.round(grown / MIB)} MiB`);
  });
}

const MIB = 1024 * 1024;

const FLOODS: readonly Readonly<Record<string, string>>[] = [
  { "x-large": "x".repeat(17_000) },
  many(60, 300),
  many(300, 60),
  many(2_000, 100),
  { "x-huge": "x".repeat(1_000_000) },
];

function many(count: number, size: number): Readonly<Record<string, string>> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`x-${i}`, "x".repeat(size)]));
}

/** 200 bodies that never end, an honest call beside them, and every one of them refused. */
async function slowRound(target: Target): Promise<void> {
  const connections = await Promise.all(Array.from({ length: 200 }, () => connectRaw(target)));
  try {
    await Promise.all(connections.map((each, i) => each.send(SLOW[i % 2].head + SLOW[i % 2].bit)));
    assert.equal(await target.honest(), 200);
    await Promise.all(connections.map((each, i) => each.send(SLOW[i % 2].bit)));
    assert.equal(await target.honest(), 200);
    const codes = await Promise.all(connections.map(async (each: RawConnection) => (await each.response())?.code));
    assert.deepEqual(codes, connections.map(() => "deadline_exceeded"));
  } finally {
    connections.forEach((each) => each[Symbol.dispose]());
  }
}

/**
 * Leaves a body unfinished once it holds the only place, and tells how many honest calls were answered until then. One
 * that comes while an honest call has the place is refused, and tried again.
 */
async function holdAndLeave(target: Target, unfinished: string): Promise<number> {
  const patience = AbortSignal.timeout(20_000);
  for (let answered = 0;;) {
    using connection = await connectRaw(target);
    let refused = false;
    connection.response().then(() => refused = true, () => {});
    await connection.send(unfinished);
    while (!refused) {
      const got = await target.honest();
      if (got === 429) return answered;
      if (got === 200) answered++;
      assert.ok(!patience.aborted, `still ${got}, never 429`);
    }
  }
}

/** Makes honest calls until one gets the given status, and tells how many of them were answered. */
async function untilStatus(target: Target, status: number): Promise<number> {
  const patience = AbortSignal.timeout(20_000);
  for (let answered = 0;;) {
    const got = await target.honest();
    if (got === 200) answered++;
    if (got === status) return answered;
    assert.ok(!patience.aborted, `still ${got}, never ${status}`);
  }
}
