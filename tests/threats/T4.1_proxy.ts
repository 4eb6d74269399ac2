/** Somebody between client and server whom the client's TLS trusts: ends the connection, reads, changes, passes on. */
import { createFetch } from "../../src/runtime/deno.ts";

/** A request on its way. */
export interface PassingRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** A response on its way. */
export interface PassingResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** What is done to messages. */
export interface Tampering {
  readonly request?: (request: PassingRequest) => PassingRequest;
  readonly response?: (response: PassingResponse) => PassingResponse;
}

/** A running proxy. */
export interface TamperingProxy extends AsyncDisposable {
  /** Where it listens. */
  readonly url: string;
  /** Does this to every message from now on. */
  tamper(how: Tampering): void;
  /** The requests as they came, before anything was done to them. */
  readonly seen: PassingRequest[];
}

/** Listens on a free port with a certificate of its own and passes on to `target`. */
export function tamperingProxy(
  target: string,
  { cert, key, ca }: { readonly cert: string; readonly key: string; readonly ca: string },
): TamperingProxy {
  let how: Tampering = {};
  const seen: PassingRequest[] = [];
  const send = createFetch({ caCerts: [ca] });
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, cert, key, onListen() {} }, async (incoming) => {
    const headers = new Headers(incoming.headers);
    for (const name of ["host", "content-length", "connection"]) headers.delete(name);
    const { pathname, search } = new URL(incoming.url);
    const came = { method: incoming.method, path: pathname + search, headers, body: await incoming.bytes() };
    seen.push(came);
    const request = how.request?.(came) ?? came;
    const response = await send(target + request.path, {
      method: request.method,
      headers: request.headers,
      body: request.method === "GET" ? null : request.body,
      redirect: "manual",
    });
    const went = { status: response.status, headers: new Headers(response.headers), body: await response.bytes() };
    const { status, headers: answered, body } = how.response?.(went) ?? went;
    answered.delete("content-length");
    return new Response(body, { status, headers: answered });
  });
  return {
    url: `https://localhost:${server.addr.port}`,
    seen,
    tamper: (next) => void (how = next),
    async [Symbol.asyncDispose]() {
      await server.shutdown();
      send[Symbol.dispose]();
    },
  };
}
