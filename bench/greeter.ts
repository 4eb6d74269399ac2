// What every contestant of the bench does: one greeting, 157 bytes or less each way.
import { createServer, implement, publicOnly, rpc, type Server, service } from "@postern/rpc";
import { allow, type Identity, policy, protect, type Trust } from "@postern/rpc/auth";
import * as v from "valibot";
import { WEB } from "./lib/domain.ts";

const Name = v.strictObject({ name: v.string() });
const Text = v.object({ text: v.string() });

export const Greeter = service("greeter.v1", {
  hello: rpc(Name, Text),
  /** The same, each call and each answer signed. */
  signed: rpc(Name, Text, { proof: "signature" }),
});

const greet = ({ name }: { readonly name: string }) => ({ text: `Hello, ${name}!` });
const greeting = implement(Greeter, { hello: greet, signed: greet });

export function posternServer(): Server {
  return createServer(greeting, {
    guard: publicOnly(["greeter.v1/hello"]),
    tlsTerminated: true, // the bench compares handlers, so it listens without TLS
  });
}

/** The same server, let in by proof only. */
export function protectedServer({ identity, trust }: { readonly identity: Identity; readonly trust: Trust }): Server {
  return createServer(greeting, {
    guard: protect({ identity, trust, policy: policy([allow({ caller: WEB, call: "greeter.v1/*" })]) }),
    tlsTerminated: true,
    log: () => {}, // a server that has just started asks for a second proof, which is nobody's news here
  });
}

/** The control: parses and answers JSON and checks nothing. */
export async function bareHandler(request: Request): Promise<Response> {
  const { name } = await request.json();
  return Response.json({ text: `Hello, ${name}!` });
}

/** The control over a WebSocket: one text for another, with the number that tells whose it is. */
export function bareEcho(text: string): string {
  const { id, name } = JSON.parse(text);
  return JSON.stringify({ id, text: `Hello, ${name}!` });
}

export const REQUEST_BODY = '{"name":"Ada"}';
export const REQUEST_HEADERS = { "content-type": "application/json", "connect-protocol-version": "1" };
