/** The server of the programs: a Postern server, and beside it an echo that shows how bodies travel. */
import { cbor, createServer, implement, json, publicOnly, rpc, RpcError, service } from "@postern/rpc";
import * as v from "valibot";
import type { FetchServer } from "../../../src/runtime/runtime.ts";

const Name = v.pipe(v.string(), v.maxLength(64));
const Data = v.strictObject({ bytes: v.instance(Uint8Array), at: v.date(), big: v.bigint() });

/** What the matrix calls. */
export const Sampler = service("sampler.v1", {
  hello: rpc(v.strictObject({ name: Name }), v.object({ text: v.string() }), { safe: true }),
  mirror: rpc(Data, Data),
  fail: rpc(v.strictObject({}), v.object({}), { errors: { out_of_range: v.strictObject({ left: v.number() }) } }),
  wait: rpc(v.strictObject({}), v.object({ remainingMs: v.number() })),
});

const implementation = implement(Sampler, {
  hello: ({ name }) => ({ text: `Hello, ${name}!` }),
  mirror: (data) => data,
  fail: () => {
    throw new RpcError("out_of_range", "There are not that many", { details: { left: 3 } });
  },
  wait: async (_message, context) => {
    await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
    return { remainingMs: context.remainingMs };
  },
});

/**
 * Makes a server that answers calls, echoes other bodies as they come, and drains.
 *
 * @returns The server.
 */
export function createApp(): FetchServer & AsyncDisposable {
  const postern = createServer(implementation, {
    guard: publicOnly(Object.values(Sampler.methods).map(({ path }) => path.slice(1))),
    codecs: [json(), cbor()],
    log: () => {},
  });
  let disposed = false;
  let inFlight = 0;
  let idle: (() => void) | undefined;
  const end = () => {
    if (--inFlight === 0) idle?.();
  };
  return {
    fetch(request) {
      if (new URL(request.url).pathname.startsWith("/sampler.v1/")) return postern.fetch(request);
      if (disposed) return new Response("draining", { status: 503 });
      if (!request.body) return Response.json({ url: request.url, header: request.headers.get("x-test") });
      inFlight++;
      const body = request.body.pipeThrough(new TransformStream({ flush: end, cancel: end }));
      return new Response(body, { status: 201, headers: { "x-test": "echoed" } });
    },
    async [Symbol.asyncDispose]() {
      disposed = true;
      await postern[Symbol.asyncDispose]();
      if (inFlight > 0) await new Promise<void>((resolve) => idle = resolve);
    },
  };
}
