import { SUBPROTOCOL } from "./hello.ts";
import { assertHost, HttpRefusal, readHead } from "./http_head.ts";
import { RpcError } from "./rpc_error.ts";
import type { ServerCore } from "./server_core.ts";

/**
 * Checks a request that wants to become a connection, as far as that needs no trust: runtimes look at little of it, and at
 * none of it alike.
 *
 * @param origins The web pages that may connect, by their origin; a client that is no browser has none.
 * @throws {RpcError} It may not.
 * @see {@link https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1 | RFC 6455, section 4.2.1}
 */
export function assertUpgrade(request: Request, core: ServerCore, origins: ReadonlySet<string>): void {
  const { url, method, headers } = request;
  if (!core.tlsTerminated && !url.startsWith("https://")) {
    throw new RpcError("failed_precondition", "Cannot connect: the request came without TLS");
  }
  if (url.slice(url.indexOf("/", 8)) !== `/${SUBPROTOCOL}`) {
    throw new HttpRefusal(404, "unimplemented", "There is nothing to connect to");
  }
  if (method !== "GET") {
    throw new HttpRefusal(405, "unimplemented", "Cannot connect this way, use GET", { headers: { allow: "GET" } });
  }
  const head = readHead(headers, core.limits.maxHeaderBytes);
  assertHost(head);
  assertHandshake(headers);
  const origin = headers.get("origin");
  if (origin !== null && !origins.has(origin)) {
    throw new RpcError("permission_denied", "Cannot connect: this origin is not allowed");
  }
}

function assertHandshake(headers: Headers): void {
  if ((headers.get("upgrade") ?? "").toLowerCase() !== "websocket") {
    throw new HttpRefusal(426, "failed_precondition", "Cannot connect without an upgrade to WebSocket", UPGRADE);
  }
  if (headers.get("sec-websocket-version") !== "13") {
    throw new HttpRefusal(426, "failed_precondition", "Cannot connect: the WebSocket version must be 13", UPGRADE);
  }
  if (!KEY_PATTERN.test(headers.get("sec-websocket-key") ?? "")) {
    throw new RpcError("invalid_argument", "Cannot connect: the WebSocket key is none");
  }
  const offered = (headers.get("sec-websocket-protocol") ?? "").split(",").map((each) => each.trim());
  if (!offered.includes(SUBPROTOCOL)) {
    throw new RpcError("invalid_argument", `Cannot connect: the subprotocol must be "${SUBPROTOCOL}"`);
  }
}

const UPGRADE = { headers: { upgrade: "websocket", connection: "Upgrade", "sec-websocket-version": "13" } };

/** 16 bytes in base64. */
const KEY_PATTERN = /^[A-Za-z0-9+/]{22}==$/;
