/**
 * Postern on Deno: HTTP/2 and HTTP/1.1 over TLS.
 *
 * Deno lets nobody choose TLS versions: rustls offers 1.3 and 1.2, the latter with ECDHE and AEAD suites only.
 *
 * @example Serve on localhost
 * ```ts ignore
 * import { serve } from "@postern/rpc/deno";
 *
 * await using serving = await serve(server, { cert, key });
 * console.log(`Listening on ${serving.url}`);
 * await serving.finished;
 * ```
 *
 * @module
 */
import type { PeerInfo } from "../rpc/mod.ts";
import { assertCanaryRefused, type Canary } from "./canary.ts";
import { CANARY_CERTIFICATE, CANARY_KEY_NOT_A_SECRET } from "./canary_certificate.ts";
import type { FetchOptions, FetchServer, RuntimeFetch, ServeOptions, Serving } from "./runtime.ts";
import { checkCaCerts, checkClientCertificate, createRuntimeFetch } from "./runtime_fetch.ts";
import { answer, type CheckedServeOptions, checkServeOptions, createServing, type Listener } from "./serving.ts";

export { fileSink, type FileSinkOptions } from "./file_sink.ts";
export { keyFromEnvironment } from "./key_environment.ts";
export { keyFromFile, writeKeyFile } from "./key_file.ts";
export type * from "./runtime.ts";

/**
 * Serves over TLS, HTTP/2 where the client speaks it.
 *
 * A server without a disposal of its own loses, when drained, HTTP/1.1 requests whose body is still arriving.
 *
 * Needs `--allow-net` for the address and for 127.0.0.1 (see {@linkcode assertCertificateVerification}).
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
  const handler = (request: Request, info?: PeerInfo) => answer(server, request, info);
  return createServing(server, await (checked.clientCerts ? listenWithNode : listen)(checked, handler), checked);
}

/**
 * A `fetch` that trusts more authorities than Deno does.
 *
 * Deno trusts Mozilla's list unless `DENO_TLS_CA_STORE`, `DENO_CERT` or `NODE_EXTRA_CA_CERTS` say otherwise.
 *
 * @param options Whom to trust, and a certificate to show.
 * @returns The fetch; dispose it to close its connections.
 * @throws {TypeError} For text that is not a certificate as PEM, or a certificate without its key.
 */
export function createFetch(options: FetchOptions = {}): RuntimeFetch {
  const client = Deno.createHttpClient({ caCerts: checkCaCerts(options), ...checkClientCertificate(options) });
  return createRuntimeFetch((input, init) => fetch(input, { ...init, client }), () => client.close());
}

/**
 * Proves that this process refuses a certificate nobody signed; {@linkcode serve} calls it first.
 *
 * It finds `--unsafely-ignore-certificate-errors` for all hosts or for 127.0.0.1; a list of other hosts shows nowhere.
 *
 * @throws {Error} When verification is off, or when that cannot be found out: a missing permission, a proxy.
 */
export function assertCertificateVerification(): Promise<void> {
  return assertCanaryRefused({
    listen: listenCanary,
    // rustls names every reason to refuse a certificate by this prefix, and nothing else; Deno has no code for it.
    refusedCertificate: (error) => error instanceof Error && causes(error).includes("invalid peer certificate"),
    fix: "start it without --unsafely-ignore-certificate-errors",
  });
}

type Handler = (request: Request, info?: PeerInfo) => Promise<Response>;

/**
 * How long answers get to leave before the listener closes, in milliseconds: `shutdown()` cuts what an HTTP/2 connection
 * has not sent yet, and nothing tells when that is done. A client that reads more slowly loses the rest.
 */
const FLUSH_MS = 1_000;

/** Loaded where it is used, because most servers need no `node:http2`. */
async function listenWithNode(options: CheckedServeOptions, handler: Handler): Promise<Listener> {
  const { listenOnNode } = await import("./node_listener.ts");
  return listenOnNode(options, handler);
}

function listen(options: CheckedServeOptions, handler: Handler): Listener {
  const cutting = new AbortController();
  const { signal } = cutting;
  let active = 0;
  let answeredAt = -Infinity;
  let giveUp: (() => void) | undefined;
  let idle: () => void = () => {};
  const server = Deno.serve({
    hostname: options.hostname,
    port: options.port,
    cert: options.cert,
    key: options.key,
    signal,
    onListen() {}, // the default prints a line
  }, async (request) => {
    active++;
    const response = await handler(request);
    answeredAt = performance.now();
    if (--active === 0) idle();
    return response;
  });
  return {
    port: server.addr.port,
    async close() {
      // Once it shuts down, Deno cannot cut any more and throws where nobody can catch it; so all answers come first.
      if (active > 0 && !signal.aborted) {
        await new Promise<void>((resolve) => {
          idle = resolve;
          signal.addEventListener("abort", () => resolve());
        });
      }
      const since = performance.now() - answeredAt;
      if (since < FLUSH_MS && !signal.aborted) await new Promise((done) => setTimeout(done, FLUSH_MS - since));
      // A request that never ends would keep it from shutting down.
      const late = new Promise<void>((resolve) => giveUp = resolve);
      await Promise.race([server.shutdown(), late]);
    },
    cut() {
      if (!giveUp) return cutting.abort();
      giveUp(); // what is left stays until its client lets go, or the program ends itself
    },
  };
}

function listenCanary(): Canary {
  const certificate = { cert: CANARY_CERTIFICATE, key: CANARY_KEY_NOT_A_SECRET };
  const where = { hostname: "127.0.0.1", port: 0, drainMs: 0 };
  const listener = listen({ ...certificate, ...where }, () => Promise.resolve(new Response()));
  return {
    port: listener.port,
    close() {
      listener.cut();
      return listener.close();
    },
  };
}

function causes(error: Error): string {
  return error.cause instanceof Error ? `${error.message}\n${causes(error.cause)}` : error.message;
}
