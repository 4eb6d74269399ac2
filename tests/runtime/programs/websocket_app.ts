/** The server of the WebSocket programs: calls, and beside them a pipe that gives back what it gets. */
import { createServer, implement, publicOnly, rpc, service, stream } from "@postern/rpc";
import type { FetchServer } from "../../../src/runtime/runtime.ts";
import * as v from "valibot";

const N = v.strictObject({ n: v.number() });

/** What the programs call. */
export const Counter = service("counter.v1", {
  double: rpc(N, N),
  large: rpc(N, v.strictObject({ text: v.string() })),
  upTo: rpc(N, stream(N)),
  sum: rpc(stream(N), N),
  both: rpc(stream(N), stream(N)),
});

/** The largest message of the echo. */
export const MAX_ECHO_BYTES = 100_000;

/**
 * Makes a server that answers calls at its root, and echoes WebSocket messages at `/echo`; "close" closes it.
 *
 * @returns The server.
 */
export function createApp(): FetchServer & AsyncDisposable {
  const postern = createServer(
    implement(Counter, {
      double: ({ n }) => ({ n: 2 * n }),
      large: ({ n }) => ({ text: "x".repeat(n) }),
      async *upTo({ n }) {
        for (let i = 1; i <= n; i++) yield { n: i };
      },
      async sum(messages) {
        let n = 0;
        for await (const each of messages) n += each.n;
        return { n };
      },
      async *both(messages) {
        for await (const { n } of messages) yield { n: 2 * n };
      },
    }),
    { guard: publicOnly(Object.values(Counter.methods).map(({ path }) => path.slice(1))), log: () => {} },
  );
  let closings = 0;
  return {
    fetch: (request) =>
      new URL(request.url).pathname === "/closings" ? Response.json(closings) : postern.fetch(request),
    upgrade(request, info) {
      if (new URL(request.url).pathname !== "/echo") return postern.upgrade(request, info);
      return {
        protocol: "echo",
        maxMessageBytes: MAX_ECHO_BYTES,
        open: (pipe) => ({
          receive(message) {
            if (message === "close") return pipe.close(1000, "asked");
            pipe.send(typeof message === "string" ? message : new Uint8Array(message));
          },
          closed() {
            closings++;
          },
        }),
      };
    },
    [Symbol.asyncDispose]: () => postern[Symbol.asyncDispose](),
  };
}
