import type { RuntimeFetch, Serving } from "@postern/rpc/deno";
import { serve } from "@postern/rpc/deno";
import type { Certificate } from "../../tools/dev_ca.ts";

/** A request as whoever ends TLS has it in hand, all of it in the clear. */
export interface Captured {
  readonly path: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Uint8Array<ArrayBuffer>;
}

/** Sends a request on, to the proxied server or to another. */
export type Send = (request: Captured, url?: string) => Promise<Response>;

/** What a proxy does with a request. */
export type Meddle = (request: Captured, send: Send) => Promise<Response>;

/** A proxy that ends TLS: it decrypts what comes, and encrypts anew what it sends on. */
export interface Proxy {
  readonly url: string;
  readonly serving: Serving;
  /** The last request that came through. */
  last(): Captured;
  /** Changes what comes through, for as long as something takes. */
  during<Result>(meddle: Meddle, run: () => Promise<Result>): Promise<Result>;
}

/** How a proxy is set up. */
export interface ProxyOptions {
  /** The server behind it. */
  readonly url: string;
  /** Its own certificate, for its own listener. */
  readonly certificate: Certificate;
  /** What sends requests to the server. */
  readonly fetch: RuntimeFetch;
}

/** Starts a proxy that passes everything on as it is. */
export async function startProxy({ url, certificate, fetch }: ProxyOptions): Promise<Proxy> {
  let last: Captured | undefined;
  let meddle: Meddle = (request, send) => send(request);
  const send: Send = ({ path, headers, body }, to = url) => resend(fetch, to + path, { headers, body });
  const proxy = {
    async fetch(request: Request) {
      last = await captured(request);
      return await copied(await meddle(last, send));
    },
  };
  const serving = await serve(proxy, { ...certificate, port: 0 });
  return {
    url: serving.url,
    serving,
    last() {
      if (!last) throw new Error("Nothing came through the proxy");
      return last;
    },
    async during(other, run) {
      const usual = meddle;
      meddle = other;
      try {
        return await run();
      } finally {
        meddle = usual;
      }
    },
  };
}

/** Sends captured bytes. */
export function resend(
  fetch: RuntimeFetch,
  url: string,
  { headers, body }: Pick<Captured, "headers" | "body">,
): Promise<Response> {
  return fetch(url, { method: "POST", headers: headers.map(([name, value]): [string, string] => [name, value]), body });
}

async function captured(request: Request): Promise<Captured> {
  const { pathname } = new URL(request.url);
  const headers = [...request.headers].filter(([name]) => name !== "host");
  return { path: pathname, headers, body: new Uint8Array(await request.arrayBuffer()) };
}

async function copied(response: Response): Promise<Response> {
  const { status, headers } = response;
  return new Response(await response.arrayBuffer(), { status, headers });
}
