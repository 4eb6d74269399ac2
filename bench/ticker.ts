// What the contestants of the streaming benches do: so many small messages in a row; and the controls.
import { createServer, implement, publicOnly, rpc, type Server, service, stream } from "@postern/rpc";
import { allow, type HashProvider, type Identity, policy, protect, type Trust } from "@postern/rpc/auth";
import * as v from "valibot";
import { WEB } from "./lib/domain.ts";

const Count = v.strictObject({ n: v.number() });
const Tick = v.object({ i: v.number(), text: v.string() });

export const Ticker = service("ticker.v1", { count: rpc(Count, stream(Tick)) });

const implementation = implement(Ticker, {
  async *count({ n }) {
    for (let i = 0; i < n; i++) yield tick(i);
  },
});

const tick = (i: number) => ({ i, text: "a message" });

export function posternTicker(): Server {
  return createServer(implementation, { guard: publicOnly(["ticker.v1/count"]), tlsTerminated: true });
}

/** The same server, let in by a session only: each block of the stream has a MAC. */
export function protectedTicker(
  { identity, trust }: { readonly identity: Identity; readonly trust: Trust },
  hash?: HashProvider,
): Server {
  const rules = policy([allow({ caller: WEB, call: "ticker.v1/count" })]);
  return createServer(implementation, {
    guard: protect({ identity, trust, policy: rules, ...hash && { hash } }),
    tlsTerminated: true,
    log: () => {},
  });
}

/** The control: one chunk for each message, and no checks. `n` is in the URL, so that it need not read a body. */
export function bareTicker(request: Request): Response {
  const n = Number(new URL(request.url).searchParams.get("n"));
  const utf8 = new TextEncoder();
  let i = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (i === n) return controller.close();
      controller.enqueue(utf8.encode(JSON.stringify(tick(i++)) + "\n"));
    },
  });
  return new Response(body, { headers: { "content-type": "application/x-ndjson" } });
}

/** The call of a plain client, as it is on the wire. */
export function countRequest(n: number): { readonly headers: Record<string, string>; readonly body: Uint8Array } {
  const message = new TextEncoder().encode(JSON.stringify({ n }));
  const body = new Uint8Array(5 + message.length);
  body[4] = message.length;
  body.set(message, 5);
  return { headers: { "content-type": "application/connect+json", "connect-protocol-version": "1" }, body };
}
