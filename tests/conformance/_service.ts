/** The suite's service, as it describes it in its `service.proto`. */
import { create } from "@bufbuild/protobuf";
import { type Any, anyPack } from "@bufbuild/protobuf/wkt";
import { type Context, type Handlers, implement, type RpcCode, RpcError } from "@postern/rpc";
import type { Implementation } from "@postern/rpc/rpc";
import { CODES, headerList } from "./_connect_wire.ts";
import { fromContract, isOpaque, Served, toContract } from "./_contract.ts";
import type { Exchange } from "./_exchanges.ts";
import type { ErrorMessage, Header, Messages, ServiceRequest } from "./_messages.ts";

/** A call that is being answered. */
interface Answering {
  readonly exchange: Exchange;
  readonly context: Context;
  /** What came, and is not told yet. */
  readonly requests: ServiceRequest[];
  /** Reads a request and notes it. */
  take(given: unknown): ServiceRequest;
  /** An answer with data, and with what is known of the request. */
  answer(data: Uint8Array | undefined, info: boolean): unknown;
  /** The error that the suite ordered. */
  error(ordered: ErrorMessage, info: boolean): RpcError;
}

/** Implements the service for Postern. */
export function conformanceHandlers(
  messages: Messages,
  exchangeOf: (correlationId: string) => Exchange,
): Implementation {
  const start = (context: Context) => answering(messages, exchangeOf(context.correlationId), context);
  const one = async (message: unknown, context: Context) => {
    const call = start(context);
    call.take(message);
    return await answerOne(call);
  };
  const handlers = {
    Unary: one,
    IdempotentUnary: one,
    async ClientStream(given: AsyncIterable<unknown>, context: Context) {
      const call = start(context);
      for await (const message of given) call.take(message);
      return await answerOne(call);
    },
    async *ServerStream(message: unknown, context: Context) {
      const call = start(context);
      call.take(message);
      yield* answerMany(call);
    },
    async *BidiStream(given: AsyncIterable<unknown>, context: Context) {
      const call = start(context);
      const incoming = given[Symbol.asyncIterator]();
      const first = await incoming.next();
      if (first.done) return call.exchange.begin([], []);
      const { fullDuplex } = call.take(first.value);
      const rest = { [Symbol.asyncIterator]: () => incoming };
      if (fullDuplex) return yield* answerInTurn(call, rest);
      for await (const message of rest) call.take(message);
      yield* answerMany(call);
    },
  };
  // What a handler answers is made by Protobuf, and checked by the contract.
  return implement(Served, handlers as unknown as Handlers<typeof Served.methods>);
}

function answering(messages: Messages, exchange: Exchange, context: Context): Answering {
  const { registry } = messages;
  const { input, output } = messages.method(context.method.name);
  const Info = messages.find("ConformancePayload.RequestInfo");
  const requests: ServiceRequest[] = [];
  let isBinary = exchange.request.headers.get("content-type")?.endsWith("proto") ?? false;
  const take = (given: unknown) => {
    isBinary = isOpaque(given);
    const request = fromContract(input, given, registry);
    requests.push(request);
    return request;
  };
  /** What is known of the request; what was told once is not told again. */
  const info = (withHead: boolean) => {
    const packed: Any[] = requests.splice(0).map((request) => anyPack(input, request));
    return messages.make("ConformancePayload.RequestInfo", {
      ...withHead ? headOf(exchange.request) : {},
      requests: packed,
    });
  };
  return {
    exchange,
    context,
    requests,
    take,
    answer(data, withHead) {
      const told = withHead || requests.length > 0 ? { requestInfo: info(withHead) } : {};
      const payload = messages.make("ConformancePayload", { ...data ? { data } : {}, ...told });
      return toContract(output, create(output, { payload }), { isBinary, registry });
    },
    error({ code, message, details }, withInfo) {
      exchange.details = withInfo ? [...details, anyPack(Info, info(true))] : details;
      return new RpcError(CODES[code] as RpcCode, message ?? "");
    },
  };
}

/** The part of a `RequestInfo` that is about the head. */
function headOf({ method, url, headers }: Request) {
  const timeoutMs = headers.get("connect-timeout-ms");
  const queryParams: Header[] = [...new URL(url).searchParams].map(([name, value]) => ({ name, value: [value] }));
  return {
    requestHeaders: headerList(headers),
    ...timeoutMs === null ? {} : { timeoutMs: BigInt(timeoutMs) },
    ...method === "GET" ? { connectGetInfo: { queryParams } } : {},
  };
}

async function answerOne({ exchange, context, requests, answer, error }: Answering): Promise<unknown> {
  const { responseHeaders = [], responseTrailers = [], responseDelayMs = 0, response } =
    requests[0]?.responseDefinition ?? {};
  exchange.begin(responseHeaders, responseTrailers);
  await delay(responseDelayMs, context.signal);
  if (response?.case === "error") throw error(response.value, true);
  return answer(response?.case === "responseData" ? response.value : undefined, true);
}

async function* answerMany({ exchange, context, requests, answer, error }: Answering): AsyncGenerator<unknown> {
  const definition = requests[0]?.responseDefinition;
  exchange.begin(definition?.responseHeaders ?? [], definition?.responseTrailers ?? []);
  const data = definition?.responseData ?? [];
  for (const [index, each] of data.entries()) {
    await delay(definition!.responseDelayMs, context.signal);
    yield answer(each, index === 0);
  }
  if (definition?.error) throw error(definition.error, data.length === 0);
}

async function* answerInTurn(call: Answering, rest: AsyncIterable<unknown>): AsyncGenerator<unknown> {
  const { exchange, context, requests, take, answer, error } = call;
  const definition = requests[0]!.responseDefinition;
  exchange.begin(definition?.responseHeaders ?? [], definition?.responseTrailers ?? []);
  const data = definition?.responseData ?? [];
  const incoming = rest[Symbol.asyncIterator]();
  let sent = 0;
  for (let more = true; more && sent < data.length;) {
    await delay(definition!.responseDelayMs, context.signal);
    yield answer(data[sent], sent++ === 0);
    const next = await incoming.next();
    more = !next.done;
    if (more) take(next.value);
  }
  for (; sent < data.length; sent++) {
    await delay(definition!.responseDelayMs, context.signal);
    yield answer(data[sent], sent === 0);
  }
  if (definition?.error) throw error(definition.error, sent === 0);
}

/** Waits, but not for a caller who is gone. */
function delay(ms: number, signal: AbortSignal): Promise<void> {
  if (ms === 0) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
