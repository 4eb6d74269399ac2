/**
 * Postern on Node: HTTP/2 and HTTP/1.1 over TLS 1.3.
 *
 * Over HTTP/1.1 Node gives a request five minutes to arrive, its body included; longer client streams need HTTP/2.
 *
 * @example Serve on localhost
 * ```ts ignore
 * import { serve } from "@postern/rpc/node";
 *
 * const serving = await serve(server, { cert, key });
 * console.log(`Listening on ${serving.url}`);
 * await serving.finished;
 * ```
 *
 * @module
 */
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { Agent } from "undici";
import { assertCanaryRefused, type Canary, isUntrustedCode } from "./canary.ts";
import { CANARY_CERTIFICATE, CANARY_KEY_NOT_A_SECRET } from "./canary_certificate.ts";
import { listenOnNode } from "./node_listener.ts";
import type { FetchOptions, FetchServer, RuntimeFetch, RuntimeWebSocket, ServeOptions, Serving } from "./runtime.ts";
import { createRuntimeFetch } from "./runtime_fetch.ts";
import { checkServeOptions, createServing, handlingOf } from "./serving.ts";
import { tlsTrust } from "./tls_trust.ts";
import { dialWithNode, tlsWebSocket } from "./tls_web_socket.ts";

export { type HashProvider, nobleHash as nativeHash } from "../internal/hash.ts";
export { brokerStore } from "./broker_store.ts";
export { fileSink, type FileSinkOptions } from "./file_sink.ts";
export { keyFromEnvironment } from "./key_environment.ts";
export { keyFromFile, writeKeyFile } from "./key_file.ts";
export type * from "./runtime.ts";

/**
 * Serves over TLS 1.3, HTTP/2 where the client speaks it.
 *
 * @param server What answers requests.
 * @param options The certificate, the key and where to listen.
 * @returns The listening server; dispose it to drain it.
 * @throws {TypeError} Without a certificate or a key, or for clients' certificates of no authority.
 * @throws {Error} When this process does not verify certificates.
 */
export async function serve(server: FetchServer, options: ServeOptions): Promise<Serving> {
  const checked = checkServeOptions(options);
  await assertCertificateVerification();
  return createServing(server, await listenOnNode(checked, handlingOf(server)), checked);
}

/**
 * A `fetch` that trusts more authorities than Node does.
 *
 * Certificates are verified even when `NODE_TLS_REJECT_UNAUTHORIZED=0` is set. Node trusts Mozilla's list and
 * `NODE_EXTRA_CA_CERTS`; Node 20 can add authorities to these two only, not to `--use-openssl-ca`.
 *
 * @param options Whom to trust, and a certificate to show.
 * @returns The fetch; dispose it to close its connections.
 * @throws {TypeError} For text that is not a certificate as PEM, or a certificate without its key.
 */
export function createFetch(options: FetchOptions = {}): RuntimeFetch {
  const agent = new Agent({ connect: { secureContext: tlsTrust(options), rejectUnauthorized: true } });
  // Node's own fetch, for responses that are instances of the global Response; undici's fetch has a class of its own.
  const send = (input: Request | URL | string, init?: RequestInit) =>
    fetch(input, { ...init, dispatcher: agent } as RequestInit);
  return createRuntimeFetch(send, () => void agent.close());
}

/**
 * Opens WebSockets for `webSocketTransport`.
 *
 * Certificates are verified even when `NODE_TLS_REJECT_UNAUTHORIZED=0` is set.
 *
 * @param options Whom to trust, and a certificate to show.
 * @returns What opens them.
 * @throws {TypeError} For text that is not a certificate as PEM, or a certificate without its key.
 */
export function createWebSocket(options: FetchOptions = {}): RuntimeWebSocket {
  const secureContext = tlsTrust(options);
  const dial = dialWithNode({ ...secureContext && { secureContext } });
  return (url, protocols = []) => tlsWebSocket(url, protocols, dial);
}

/**
 * Proves that this process refuses a certificate nobody signed; {@linkcode serve} calls it first.
 *
 * @throws {Error} When verification is off, or when that cannot be found out, as behind a proxy.
 */
export function assertCertificateVerification(): Promise<void> {
  return assertCanaryRefused({
    listen: listenCanary,
    refusedCertificate: isUntrustedCode,
    fix: "start it without NODE_TLS_REJECT_UNAUTHORIZED=0",
  });
}

async function listenCanary(): Promise<Canary> {
  const server = createServer({ cert: CANARY_CERTIFICATE, key: CANARY_KEY_NOT_A_SECRET }, (_, response) => {
    response.end();
  });
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
