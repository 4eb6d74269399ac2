/**
 * What Postern's handlers neither see nor say, for a server that must: the headers of requests, the headers and trailers of
 * answers, and details of errors that are no part of the contract.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Any } from "@bufbuild/protobuf/wkt";
import type { Guard, Server } from "@postern/rpc/rpc";
import {
  addHeaders,
  type EndOfStream,
  isStream,
  replacingEnd,
  toWire,
  TRAILER_PREFIX,
  type WireError,
} from "./_connect_wire.ts";
import type { Header } from "./_messages.ts";

/** One request and its answer. */
export interface Exchange {
  /** The request as it came. */
  readonly request: Request;
  /** What the handler wants the answer to begin with, once it knows; the answer of a stream waits for it. */
  begin(headers: readonly Header[], trailers: readonly Header[]): void;
  /** The details of the error that the handler is about to throw. */
  details: readonly Any[];
}

interface Pending extends Exchange {
  readonly begun: Promise<void>;
  readonly headers: readonly Header[];
  readonly trailers: readonly Header[];
}

/** Watches the exchanges of a server: around its `fetch`, and within its guard, which knows a call's correlation id. */
export function exchanges(inner: Guard) {
  const current = new AsyncLocalStorage<Pending>();
  const byId = new Map<string, Pending>();
  const guard: Guard = {
    start: (...given) => inner.start(...given),
    admit(incoming) {
      byId.set(incoming.correlationId, current.getStore()!);
      return inner.admit(incoming);
    },
  };
  return {
    guard,
    /** The exchange that a handler is part of. */
    exchangeOf: (correlationId: string): Exchange => byId.get(correlationId)!,
    /** Wraps what answers requests. */
    observing: (fetch: Server["fetch"]): Server["fetch"] => async (request, info) => {
      const exchange = pending(request);
      const response = await current.run(exchange, () => fetch(request, info));
      return isStream(response) ? await streamed(response, exchange) : await unary(response, exchange);
    },
  };
}

function pending(request: Request): Pending {
  const { promise: begun, resolve } = Promise.withResolvers<void>();
  const exchange = {
    request,
    begun,
    headers: [] as readonly Header[],
    trailers: [] as readonly Header[],
    details: [],
    begin(headers: readonly Header[], trailers: readonly Header[]) {
      Object.assign(exchange, { headers, trailers });
      resolve();
    },
  };
  return exchange;
}

async function unary(response: Response, exchange: Pending): Promise<Response> {
  const headers = new Headers(response.headers);
  addHeaders(headers, exchange.headers);
  addHeaders(headers, exchange.trailers, TRAILER_PREFIX);
  if (response.ok) return new Response(response.body, { status: response.status, headers });
  return Response.json(withDetails(await response.json(), exchange), { status: response.status, headers });
}

/** The head of a stream's answer waits for the handler, or for an answer that comes without it. */
async function streamed(response: Response, exchange: Pending): Promise<Response> {
  const end = ({ error, metadata = {} }: EndOfStream): EndOfStream => {
    for (const { name, value } of exchange.trailers) metadata[name] = value;
    return { ...error ? { error: withDetails(error, exchange) } : {}, metadata };
  };
  const reader = response.body!.pipeThrough(replacingEnd(end)).getReader();
  const first = reader.read();
  first.catch(() => {}); // it is thrown where the body is read
  await Promise.race([exchange.begun, first.catch(() => {})]);
  const headers = new Headers(response.headers);
  addHeaders(headers, exchange.headers);
  let next: typeof first | undefined = first;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await (next ?? reader.read());
      next = undefined;
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return new Response(body, { status: response.status, headers });
}

/** The correlation id makes room for what the suite counts. */
function withDetails(error: WireError, { details }: Exchange): WireError {
  return { ...error, details: details.map(toWire) };
}
