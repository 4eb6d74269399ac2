import { getRequestListener } from "@hono/node-server";
import { createSecureServer, type Http2SecureServer, type ServerHttp2Session } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { acceptOnSocket, refuseOnSocket, type UpgradedSocket, upgradeRequest } from "./node_upgrade.ts";
import { type CertifiedSocket, createPeerReader, type PeerReader } from "./peer_reader.ts";
import type { CheckedServeOptions, Handling, Listener } from "./serving.ts";

const IDLE_MS = 60_000;
/** A client that has sent half a handshake or half a header for this long is holding the connection, not using it. */
const HEADERS_MS = 10_000;
const REQUEST_MS = 300_000;
const CHECK_MS = 2_000;
const MAX_HEADER_BYTES = 16 * 1024;
/** Node's default is no limit at all, so that one connection could open every call a server has memory for. */
const MAX_STREAMS = 256;
/** With the default window of 64 KiB an upload waits for a delayed acknowledgement of TCP, 40 ms, at each 64 KiB. */
export const STREAM_WINDOW_BYTES = 256 * 1024;
const CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024;
/** Bounds what a connection may hold; Node's 10 resets honest calls once some dozens of them carry large messages. */
const MAX_CONNECTION_MEGABYTES = 64;

/** A path that `getRequestListener` would change before anyone sees it, so that two parties could read it differently. */
const UNNORMALIZED = /[/\\](\.|%2e){1,2}([/\\?]|$)|\\/i;

/** The part of a response of Node's, over HTTP/1.1 and HTTP/2, that a refusal needs. */
interface Outgoing {
  writeHead(status: number): { end(): void };
}

function refusePath(incoming: { resume(): void }, outgoing: Outgoing): void {
  incoming.resume();
  outgoing.writeHead(400).end();
}

function createLimitedServer(options: CheckedServeOptions): Http2SecureServer {
  const { clientCerts } = options;
  const server = createSecureServer({
    cert: options.cert,
    key: options.key,
    ...clientCerts && { ca: [...clientCerts.caCerts], requestCert: true, rejectUnauthorized: true },
    minVersion: "TLSv1.3",
    allowHTTP1: true,
    handshakeTimeout: HEADERS_MS,
    maxSessionMemory: MAX_CONNECTION_MEGABYTES,
    settings: {
      maxConcurrentStreams: MAX_STREAMS,
      maxHeaderListSize: MAX_HEADER_BYTES,
      initialWindowSize: STREAM_WINDOW_BYTES,
    },
  });
  // What node:https takes as options, node:http2 reads as properties (Http2SecureServer in lib/internal/http2/core.js).
  Object.assign(server, {
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: HEADERS_MS,
    requestTimeout: REQUEST_MS,
    keepAliveTimeout: IDLE_MS,
    connectionsCheckingInterval: CHECK_MS,
  });
  return server;
}

function listening(server: Http2SecureServer, { port, hostname }: CheckedServeOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject).listen(port, hostname, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** A request of Node's: over HTTP/1.1 with its socket, over HTTP/2 with the session that has it. */
interface Incoming {
  readonly socket?: CertifiedSocket;
  readonly stream?: { readonly session?: { readonly socket?: CertifiedSocket } };
}

async function answerPeer(
  request: Request,
  incoming: Incoming,
  readPeer: PeerReader,
  { answer }: Handling,
): Promise<Response> {
  const socket = incoming.stream ? incoming.stream.session?.socket : incoming.socket;
  const peer = socket ? readPeer(socket, request.headers) : { refused: 403 } as const;
  return peer.refused ? new Response(null, { status: peer.refused }) : await answer(request, peer.info);
}

/** A request that asks to become a WebSocket, as Node hands it over. */
interface UpgradeEvent {
  readonly incoming: Parameters<typeof upgradeRequest>[0];
  readonly socket: UpgradedSocket & CertifiedSocket;
  readonly rest: Uint8Array;
}

async function upgradePeer(
  { incoming, socket, rest }: UpgradeEvent,
  upgrade: NonNullable<Handling["upgrade"]>,
  readPeer: PeerReader | undefined,
): Promise<void> {
  socket.on("error", () => socket.destroy());
  const request = UNNORMALIZED.test(incoming.url ?? "") ? undefined : upgradeRequest(incoming);
  if (!request) return refuseOnSocket(socket, new Response(null, { status: 400 }));
  const peer = readPeer?.(socket, request.headers);
  if (peer?.refused) return refuseOnSocket(socket, new Response(null, { status: peer.refused }));
  const outcome = await upgrade(request, peer?.info);
  if (outcome instanceof Response) return refuseOnSocket(socket, outcome);
  acceptOnSocket(socket, request, { upgrade: outcome, rest });
}

/** What differs between the runtimes that have `node:http2`. */
export interface NodeListenerOptions {
  /** How much may be on its way to all streams of a connection together. @default {4_194_304} */
  readonly connectionWindowBytes?: number;
  /**
   * How long an HTTP/1.1 connection may carry nothing, also in the middle of a response, in ms; for a runtime that has
   * none of Node's own limits.
   *
   * @default none
   */
  readonly silentMs?: number;
}

/**
 * Listens with `node:http2` for HTTP/2 and HTTP/1.1 over TLS 1.3: Node always, Deno and Bun to ask for certificates.
 *
 * @param options Where and with what certificate.
 * @param handling What it does with requests.
 * @param runtime What differs on this runtime.
 * @returns The listener.
 */
export async function listenOnNode(
  options: CheckedServeOptions,
  handling: Handling,
  { connectionWindowBytes = CONNECTION_WINDOW_BYTES, silentMs }: NodeListenerOptions = {},
): Promise<Listener> {
  const readPeer = options.clientCerts && createPeerReader(options.clientCerts);
  const server = createLimitedServer(options);
  const sockets = new Set<Socket>();
  const sessions = new Set<ServerHttp2Session>();
  let closing = false;
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.on("secureConnection", (socket) => {
    if (silentMs && socket.alpnProtocol !== "h2") socket.setTimeout(silentMs, () => socket.destroy());
  });
  server.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
    session.setLocalWindowSize(connectionWindowBytes);
    closeWhenIdle(session);
  });
  const answer = (request: Request, { incoming }: { readonly incoming: object }) =>
    readPeer ? answerPeer(request, incoming, readPeer, handling) : handling.answer(request);
  const listener = getRequestListener(answer, { overrideGlobalObjects: false });
  server.on("request", (incoming, outgoing) => {
    // Closing sends HTTP/2 a GOAWAY, but an HTTP/1.1 connection in use would stay open, idle, after its response.
    const response = outgoing as { once(event: "close", then: () => void): void };
    response.once("close", () => closing && setImmediate(() => closeIdleConnections(server)));
    if (UNNORMALIZED.test(incoming.url ?? "")) refusePath(incoming, outgoing as unknown as Outgoing);
    else void listener(incoming, outgoing);
  });
  const { upgrade } = handling;
  if (upgrade) {
    server.on("upgrade", (incoming, socket, rest) => {
      void upgradePeer({ incoming, socket, rest } as unknown as UpgradeEvent, upgrade, readPeer);
    });
  }
  await listening(server, options);
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      closing = true;
      for (const session of sessions) session.close();
      return new Promise((resolve) => server.close(() => resolve()));
    },
    cut() {
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Ends a session that carries nothing; Node's own session timeout also ends one whose streams are merely quiet. */
function closeWhenIdle(session: ServerHttp2Session): void {
  let open = 0;
  session.on("stream", (stream) => {
    open++;
    stream.once("close", () => open--);
  });
  session.setTimeout(IDLE_MS, () => {
    if (open === 0) session.close();
  });
}

/** `close()` calls it too, but only for connections that are idle at that moment. */
function closeIdleConnections(server: object): void {
  (server as { closeIdleConnections?(): void }).closeIdleConnections?.();
}
