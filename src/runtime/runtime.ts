/** What answers requests: a Postern server, or anything of its shape. */
export interface FetchServer extends Partial<AsyncDisposable> {
  /**
   * Answers one request.
   *
   * @param request The request, whose `signal` aborts when the client goes away.
   * @returns The response.
   */
  fetch(request: Request): Promise<Response> | Response;
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

/** What a {@linkcode RuntimeFetch} trusts. */
export interface FetchOptions {
  /**
   * Certificates of authorities to trust, as PEM, in addition to those the runtime trusts.
   *
   * In addition, because Deno's `fetch` cannot trust them instead, and one option must mean one thing.
   *
   * @default none
   */
  readonly caCerts?: readonly string[];
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
