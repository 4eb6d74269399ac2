/** A server made with Connect's own library alone, behind the TLS of our `serve`, and a Postern client of it. */
import { createConnectRouter, type ServiceImpl } from "@connectrpc/connect";
import { createFetchHandler } from "@connectrpc/connect/protocol";
import { anonymous, type Client, createClient, fetchTransport } from "@postern/rpc";
import { createFetch, serve } from "@postern/rpc/deno";
import { testAuthority } from "../_authority.ts";
import { Desk, DeskDescriptor } from "./_desk.ts";

/** The running server and its client. */
export interface ConnectServing extends AsyncDisposable {
  /** A Postern client. */
  readonly client: Client<typeof Desk.methods>;
  /** The requests that came. */
  readonly seen: readonly Request[];
}

/** Serves the given methods; the others answer `unimplemented`. */
export async function serveConnect(
  implementation: Partial<ServiceImpl<typeof DeskDescriptor>>,
): Promise<ConnectServing> {
  const { ca, cert, key } = await testAuthority();
  const router = createConnectRouter({ grpc: false, grpcWeb: false });
  router.service(DeskDescriptor, implementation);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, createFetchHandler(handler)]));
  const seen: Request[] = [];
  const serving = await serve({
    async fetch(request) {
      seen.push(request);
      const handler = handlers.get(new URL(request.url).pathname);
      return handler ? await handler(request) : new Response(null, { status: 404 });
    },
  }, { cert, key, port: 0 });
  const fetch = createFetch({ caCerts: [ca] });
  return {
    client: createClient(Desk, fetchTransport(serving.url, { prover: anonymous(), fetch })),
    seen,
    async [Symbol.asyncDispose]() {
      fetch[Symbol.dispose]();
      await serving[Symbol.asyncDispose]();
    },
  };
}
