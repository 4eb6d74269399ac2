/**
 * Typed contracts, clients, servers, and the calls between them.
 *
 * Everything the root of the package exports of this part is here too, with the ports that others implement.
 *
 * @example A contract, a server and a client in one process
 * ```ts
 * import { createClient, createServer, implement, publicOnly, rpc, service } from "@postern/rpc/rpc";
 * import * as v from "valibot";
 *
 * const Greeter = service("greeter.v1", {
 *   hello: rpc(v.strictObject({ name: v.string() }), v.object({ text: v.string() })),
 * });
 * const server = createServer(implement(Greeter, { hello: ({ name }) => ({ text: `Hello, ${name}!` }) }), {
 *   guard: publicOnly(["greeter.v1/hello"]),
 * });
 * await createClient(Greeter, server.call).hello({ name: "Ada" });
 * ```
 *
 * @module
 */
export type { Audit, AuditEvent } from "./audit_event.ts";
export { type Call, type Middleware, type Origin, type Reply, type Transport, wrap } from "./call.ts";
export { type Channel, PROOF_BYTES } from "./channel.ts";
export { type CallOptions, type Client, type ClientMethod, type ClientOptions, createClient } from "./client.ts";
export type { Caller, Context, Right } from "./context.ts";
export {
  type Messages,
  type Method,
  type MethodDeclaration,
  type MethodDeclarations,
  type MethodOptions,
  type Received,
  rpc,
  type Sent,
  type Service,
  service,
  type Stream,
  stream,
} from "./contract.ts";
export { contractDigest } from "./contract_digest.ts";
export { fetchTransport, type FetchTransportOptions } from "./fetch_transport.ts";
export {
  type Admission,
  type Guard,
  type Incoming,
  type OutgoingResponse,
  publicOnly,
  type RequestHead,
  type Seal,
} from "./guard.ts";
export { type Handler, type Handlers, implement, type Implementation } from "./implement.ts";
export { defaultServerLimits, type ServerLimits } from "./limits.ts";
export { type CheckedMessage, checkMessage } from "./message_check.ts";
export { type Log, type LogEntry, logToConsole } from "./log.ts";
export type { Pipe, PipeUser, Upgrade } from "./pipe.ts";
export { type WebSocketLike, webSocketPipe } from "./web_socket_pipe.ts";
export { PEER_CERTIFICATE, type PeerCertificate, type PeerInfo } from "./peer.ts";
export { anonymous, type IncomingResponse, type OutgoingRequest, type Proof, type Prover } from "./prover.ts";
export { NotSentError, ProveAgainError, type RpcCode, RpcError, type RpcErrorOptions } from "./rpc_error.ts";
export {
  type InputOf,
  type OutputOf,
  type Schema,
  type SchemaIssue,
  type SchemaProperties,
  type SchemaResult,
  uncheckedSchema,
  type Validate,
} from "./schema.ts";
export { createServer, type Server, type ServerOptions } from "./server.ts";
export type { OpenWebSocket } from "./open_pipe.ts";
export { type Clock, systemClock } from "./clock.ts";
export { webSocketTransport, type WebSocketTransportOptions } from "./websocket_transport.ts";
