// What every contestant of the bench does: one greeting, 157 bytes or less each way.
import { createServer, implement, publicOnly, rpc, type Server, service } from "@postern/rpc";
import * as v from "valibot";

export const Greeter = service("greeter.v1", {
  hello: rpc(v.strictObject({ name: v.string() }), v.object({ text: v.string() })),
});

export function posternServer(): Server {
  return createServer(implement(Greeter, { hello: ({ name }) => ({ text: `Hello, ${name}!` }) }), {
    guard: publicOnly(["greeter.v1/hello"]),
    tlsTerminated: true, // the bench compares handlers, so it listens without TLS
  });
}

/** The control: parses and answers JSON and checks nothing. */
export async function bareHandler(request: Request): Promise<Response> {
  const { name } = await request.json();
  return Response.json({ text: `Hello, ${name}!` });
}

export const REQUEST_BODY = '{"name":"Ada"}';
export const REQUEST_HEADERS = { "content-type": "application/json", "connect-protocol-version": "1" };
