import assert from "node:assert/strict";
import { test } from "node:test";
import { connectRaw, HELLO, request } from "./_raw.ts";
import { SERVED, startTarget } from "./_target.ts";

const HEAD = { "content-type": "application/json" };

for (const runtime of SERVED) {
  test(`T33 serve() on ${runtime} refuses a gzip bomb unread`, async () => {
    await using target = await startTarget(runtime);
    const bomb = await gzipBomb();
    const before = (await target.tally()).rssBytes;
    using connection = await connectRaw(target);
    const headers = { ...HEAD, "content-encoding": "gzip", "content-length": String(bomb.length) };
    // The answer comes before a byte of the body was sent: nobody can have read it, let alone inflated it.
    const answer = await connection.exchange(request("POST /greeter.v1/hello", headers));
    assert.deepEqual([answer?.status, answer?.code], [415, "unimplemented"]);
    await connection.send(bomb);
    const { hellos, rssBytes } = await target.tally();
    assert.equal(hellos, 0);
    assert.ok(rssBytes - before < 32 * 1024 * 1024, `grew by ${rssBytes - before} bytes`);
    assert.equal(await target.honest(), 200);
  });

  test(`T33 serve() on ${runtime} refuses every coding of a body but identity`, async () => {
    await using target = await startTarget(runtime);
    for (
      const coding of ["gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "gzip, gzip", "gzip, identity", "*", "?"]
    ) {
      using connection = await connectRaw(target);
      const text = request("POST /greeter.v1/hello", { ...HEAD, "content-encoding": coding }, '{"name":"Ada"}');
      const answer = await connection.exchange(text);
      assert.deepEqual([answer?.status, answer?.code], [415, "unimplemented"], coding);
      assert.equal((await connection.exchange(HELLO))?.status, 200, `the call after: ${coding}`);
    }
    using connection = await connectRaw(target);
    const plain = request("POST /greeter.v1/hello", { ...HEAD, "content-encoding": "identity" }, '{"name":"Ada"}');
    assert.equal((await connection.exchange(plain))?.status, 200);
  });
}

/** 64 MiB of zeros in some 65 KB, as Latin-1 text. */
async function gzipBomb(): Promise<string> {
  const zeros = new Blob([new Uint8Array(64 * 1024 * 1024)]).stream();
  const bytes = await new Response(zeros.pipeThrough(new CompressionStream("gzip"))).bytes();
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}
