import assert from "node:assert/strict";
import { test } from "node:test";
import {
  anonymous,
  createClient,
  createServer,
  fetchTransport,
  implement,
  publicOnly,
  rpc,
  RpcError,
  service,
} from "../../mod.ts";
import { createFetch, serve } from "../../src/runtime/deno.ts";
import { testAuthority } from "../_authority.ts";
import { mustCome } from "../_patience.ts";
import * as v from "valibot";

const Nothing = v.strictObject({});
const Waiter = service("waiter.v1", { wait: rpc(Nothing, Nothing), answer: rpc(Nothing, Nothing) });

/** What a handler saw of its call. */
interface Seen {
  readonly signal: AbortSignal;
  /** The signal of the request itself, which the runtime aborts. */
  readonly request: AbortSignal;
}

/** A client and a server over HTTPS, and when the server's handler started and was told to stop. */
async function startWaiter(http2: boolean) {
  const { ca, cert, key } = await testAuthority();
  const started = Promise.withResolvers<void>();
  const aborted = Promise.withResolvers<unknown>();
  const answered: Seen[] = [];
  let request: Request;
  const server = createServer(
    implement(Waiter, {
      wait: (_message, { signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener("abort", () => {
            aborted.resolve(signal.reason);
            reject(signal.reason);
          });
          started.resolve();
        }),
      answer(_message, { signal }) {
        answered.push({ signal, request: request.signal });
        return {};
      },
    }),
    { guard: publicOnly(["waiter.v1/wait", "waiter.v1/answer"]), log: () => {} },
  );
  const remembering = {
    fetch(incoming: Request) {
      request = incoming;
      return server.fetch(incoming);
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
  const serving = await serve(remembering, { cert, key, port: 0 });
  const client = http2 ? undefined : Deno.createHttpClient({ caCerts: [ca], http2: false });
  const http2Fetch = createFetch({ caCerts: [ca] });
  const send = client ? (url: string, init: RequestInit) => fetch(url, { ...init, client }) : http2Fetch;
  let closing: Promise<void> | undefined;
  const close = () =>
    closing ??= (async () => {
      client?.close();
      http2Fetch[Symbol.dispose]();
      await serving[Symbol.asyncDispose]();
    })();
  return {
    waiter: createClient(Waiter, fetchTransport(serving.url, { prover: anonymous(), fetch: send })),
    started: () => mustCome(started.promise, "the handler's start"),
    aborted: () => mustCome(aborted.promise, "the handler's abort"),
    answered,
    /** Waits until every connection is closed, after which nothing can abort any more. */
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function rpcError(call: Promise<unknown>): Promise<RpcError> {
  const error = await call.then(() => undefined, (thrown: unknown) => thrown);
  assert.ok(error instanceof RpcError, `expected an RpcError, got ${error}`);
  return error;
}

for (const [version, http2] of [["HTTP/1.1", false], ["HTTP/2", true]] as const) {
  test(`ctx.signal aborts over ${version} when the client cancels the call`, async () => {
    await using waiting = await startWaiter(http2);
    const controller = new AbortController();
    const call = rpcError(waiting.waiter.wait({}, { signal: controller.signal }));
    await waiting.started();
    controller.abort(new Error("the user left"));
    const error = await call;
    assert.equal(error.code, "canceled");
    assert.equal((error.cause as Error).message, "the user left");
    const reason = await waiting.aborted();
    assert.ok(reason instanceof RpcError && reason.code === "canceled");
    assert.doesNotMatch(reason.message, /user left/);
  });

  test(`ctx.signal aborts over ${version} when the deadline is over`, async () => {
    await using waiting = await startWaiter(http2);
    const error = await rpcError(waiting.waiter.wait({}, { timeoutMs: 100 }));
    assert.equal(error.code, "deadline_exceeded");
    // Whoever looks at the clock first: the server at its deadline, or the client, which then goes away.
    const reason = await waiting.aborted();
    assert.ok(reason instanceof RpcError && ["deadline_exceeded", "canceled"].includes(reason.code));
  });

  test(`ctx.signal never aborts over ${version} after a normal answer`, async () => {
    await using waiting = await startWaiter(http2);
    for (let i = 0; i < 3; i++) assert.deepEqual(await waiting.waiter.answer({}), {});
    await waiting.close();
    assert.equal(waiting.answered.length, 3);
    for (const { signal } of waiting.answered) assert.equal(signal.aborted, false);
  });

  test(`request.signal never aborts over ${version} after a normal answer, which deno.json's no-legacy-abort is for`, async () => {
    await using waiting = await startWaiter(http2);
    await waiting.waiter.answer({});
    await waiting.close();
    for (const { request } of waiting.answered) assert.equal(request.aborted, false);
  });

  test(`createClient() cancels one call over ${version} and its connection serves the next`, async () => {
    await using waiting = await startWaiter(http2);
    const controller = new AbortController();
    const call = rpcError(waiting.waiter.wait({}, { signal: controller.signal }));
    const beside = waiting.waiter.answer({});
    await waiting.started();
    controller.abort();
    assert.equal((await call).code, "canceled");
    assert.deepEqual(await beside, {});
    assert.deepEqual(await waiting.waiter.answer({}), {});
    await waiting.aborted();
  });
}

test("createClient() makes no call whose signal has aborted before", async () => {
  await using waiting = await startWaiter(true);
  const error = await rpcError(waiting.waiter.answer({}, { signal: AbortSignal.abort() }));
  assert.equal(error.code, "canceled");
  assert.equal(waiting.answered.length, 0);
});
