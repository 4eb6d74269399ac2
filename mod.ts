/**
 * Micro RPC between services: typed contracts, strict codecs, servers and clients on web standards alone.
 *
 * This is the first hour's vocabulary; the ports and the types behind it are in the subpaths.
 *
 * @example A contract, a server and a client in one process
 * ```ts
 * import { createClient, createServer, implement, publicOnly, rpc, service } from "@postern/rpc";
 * import * as v from "valibot";
 *
 * const Greeter = service("greeter.v1", {
 *   hello: rpc(v.strictObject({ name: v.string() }), v.object({ text: v.string() })),
 * });
 * const server = createServer(implement(Greeter, { hello: ({ name }) => ({ text: `Hello, ${name}!` }) }), {
 *   guard: publicOnly(["greeter.v1/hello"]),
 * });
 *
 * const { text } = await createClient(Greeter, server.call).hello({ name: "Ada" });
 * if (text !== "Hello, Ada!") throw new Error(text);
 * ```
 *
 * @module
 */
export { cbor, json } from "./src/codec/mod.ts";
export {
  anonymous,
  type Client,
  type Context,
  contractDigest,
  createClient,
  createServer,
  fetchTransport,
  type Handlers,
  implement,
  type Middleware,
  publicOnly,
  rpc,
  type RpcCode,
  RpcError,
  type Server,
  type Service,
  service,
  stream,
  type Transport,
  uncheckedSchema,
  webSocketTransport,
} from "./src/rpc/mod.ts";
