import type { PeerInfo, Upgrade, WebSocketLike } from "../rpc/mod.ts";

/** What answers requests: a Postern server, or anything of its shape. */
export interface FetchServer extends Partial<AsyncDisposable> {
  /**
   * Answers one request.
   *
   * @param request The request, whose `signal` aborts when the client goes away.
   * @param info What the listener knows of the caller, from `clientCerts` of {@linkcode ServeOptions}.
   * @returns The response.
   */
  fetch(request: Request, info?: PeerInfo): Promise<Response> | Response;
  /**
   * Says what becomes of a request for a WebSocket; without it such requests go to `fetch`.
   *
   * @param request The request.
   * @param info What the listener knows of the caller.
   * @returns A refusal, or how to begin the connection.
   */
  upgrade?(request: Request, info?: PeerInfo): Promise<Upgrade> | Upgrade;
}

/**
 * How to listen.
 *
 * There is no plaintext option: development uses a certificate of a development authority, and behind a proxy that ends
 * TLS the way from the proxy to the server is TLS too.
 */
export interface ServeOptions {
  /** The certificate chain as PEM, the server's own certificate first. */
  readonly cert: string;
  /** The private key of the first certificate as PEM. */
  readonly key: string;
  /** The port, 0 for any free one. @default {8443} */
  readonly port?: number;
  /**
   * The address to listen on; `"0.0.0.0"` or `"::"` for every interface.
   *
   * Loopback unless asked, so that a program started on a laptop is not open to the network it happens to be in.
   *
   * @default {"127.0.0.1"}
   */
  readonly hostname?: string;
  /** How long disposal waits for calls in flight before it cuts their connections, in ms. @default {10_000} */
  readonly drainMs?: number;
  /**
   * Asks clients for certificates (mutual TLS), and refuses in the handshake whoever has none that is valid.
   *
   * It makes Deno and Bun listen with `node:http2` as Node does, because their own listeners cannot tell the server who
   * called. Nor can workerd, whose configuration has `requireClientCerts`.
   *
   * @default nobody is asked
   */
  readonly clientCerts?: ClientCertOptions;
}

/** Whose certificates a listener accepts. */
export interface ClientCertOptions {
  /** Certificates of the authorities that sign clients' certificates, as PEM; nobody else's are accepted. */
  readonly caCerts: readonly string[];
  /**
   * Who may pass on the certificates of others in `Client-Cert`: the URIs, such as SPIFFE IDs, in their own certificates.
   *
   * Behind such a proxy the caller's certificate counts, and a request without the header comes from nobody. The header
   * and `Client-Cert-Chain` are taken off every request; a malformed one from a proxy is answered with 400.
   *
   * @default {[]}
   * @see RFC 9440
   */
  readonly proxies?: readonly string[];
  /**
   * Certificates of the authorities that directly sign what proxies pass on, as PEM.
   *
   * @default {caCerts}
   */
  readonly forwardedCaCerts?: readonly string[];
}

/**
 * A listening server; disposing it drains it.
 *
 * Disposal first disposes the server, which stops admitting calls and waits for those in flight, and then closes the
 * listener. Whatever is still open after `drainMs` is cut.
 */
export interface Serving extends AsyncDisposable {
  /** Where a client on this machine reaches it, such as `https://localhost:8443`, without a slash at the end. */
  readonly url: string;
  /** The port it listens on. */
  readonly port: number;
  /** The address it listens on. */
  readonly hostname: string;
  /** Settles when the last connection is closed after disposal. */
  readonly finished: Promise<void>;
}

/** What a {@linkcode RuntimeFetch} trusts, and who it is. */
export interface FetchOptions {
  /**
   * Certificates of authorities to trust, as PEM, in addition to those the runtime trusts.
   *
   * In addition, because Deno's `fetch` cannot trust them instead, and one option must mean one thing.
   *
   * @default none
   */
  readonly caCerts?: readonly string[];
  /**
   * The certificate chain to show to servers that ask for one (mutual TLS), as PEM, the client's own certificate first.
   *
   * Workers have it in workerd's configuration instead: `tlsOptions.keypair` of the network they call.
   *
   * @default none
   */
  readonly cert?: string;
  /** The private key of the first certificate as PEM; given with `cert` or not at all. @default none */
  readonly key?: string;
}

/**
 * A `fetch` with its own trusted authorities and, where the runtime allows, its own connections.
 *
 * Certificates are always verified. Redirects, credentials, caching and everything else are the caller's `init`.
 * Disposing it refuses further calls with a `TypeError` and lets those in flight finish; their connections close when
 * they are idle.
 */
export interface RuntimeFetch extends Disposable {
  /** Sends a request as the global `fetch` does. */
  (input: Request | URL | string, init?: RequestInit): Promise<Response>;
}

/**
 * Opens WebSockets with its own trusted authorities.
 *
 * Certificates are always verified, compression is never offered, and no proxy is asked. It waits for no acknowledgements
 * of TCP, as Deno's own WebSocket does.
 */
export interface RuntimeWebSocket {
  /**
   * Begins to connect.
   *
   * @param url Where to, `wss:` or `https:`.
   * @param protocols The subprotocols to offer; a server that chooses none of them is refused.
   * @returns The WebSocket, which connects.
   * @throws {TypeError} For a URL that is not of TLS, or a subprotocol that is not a token.
   */
  (url: string | URL, protocols?: readonly string[]): WebSocketLike;
}
