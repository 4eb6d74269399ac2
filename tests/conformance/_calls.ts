/** One call as the suite orders it, made by a Postern client. */
import type { Message } from "@bufbuild/protobuf";
import { anonymous, createClient, fetchTransport, RpcError } from "@postern/rpc";
import type { CallOptions } from "@postern/rpc/rpc";
import { CODES, fromWire, headerList } from "./_connect_wire.ts";
import { Called, codecsOf, fromContract, toContract } from "./_contract.ts";
import { type ClientCompatRequest, CODEC_PROTO, type Messages, unwrapped } from "./_messages.ts";
import { type Observed, observingFetch, type Send } from "./_observing_fetch.ts";

/** One call under way. */
interface Calling {
  readonly order: ClientCompatRequest;
  /** The requests as the contract has them. */
  readonly inputs: readonly unknown[];
  readonly controller: AbortController;
  readonly options: CallOptions;
  /** The answers' payloads so far. */
  readonly payloads: Message[];
  /** Notes an answer. */
  receive(answer: unknown): void;
  /** How many requests were asked for. */
  sent: number;
  /** Lets the next request of a conversation go. */
  turn: PromiseWithResolvers<void>;
}

/** Any method of the client. */
type Method = (message: unknown, options: CallOptions) => Promise<unknown> & AsyncIterable<unknown>;

/**
 * Makes one call.
 *
 * @param order What the suite wants.
 * @param send What sends requests to its server.
 * @returns What came of it, a `ClientResponseResult`; an error of the call is a part of that.
 */
export async function makeCall(order: ClientCompatRequest, send: Send, messages: Messages) {
  const { fetch, observed } = observingFetch(send, order);
  const isBinary = order.codec === CODEC_PROTO;
  const { json, proto } = codecsOf(order.messageReceiveLimit, messages.method(order.method).output);
  const transport = fetchTransport(`https://${order.host}:${order.port}`, {
    prover: anonymous(),
    codec: isBinary ? proto : json,
    fetch,
  });
  const method = createClient(Called, transport)[order.method as keyof typeof Called.methods] as Method;
  const calling = startCalling(order, messages, isBinary);
  const error = await run(method, calling).then(() => undefined, (thrown: unknown) => thrown);
  return {
    responseHeaders: headerList(observed.headers),
    responseTrailers: headerList(observed.trailers),
    payloads: calling.payloads,
    ...error === undefined ? {} : { error: toldError(error, observed) },
    numUnsentRequests: calling.inputs.length - calling.sent,
  };
}

function startCalling(order: ClientCompatRequest, messages: Messages, isBinary: boolean): Calling {
  const { registry } = messages;
  const { input, output } = messages.method(order.method);
  const controller = new AbortController();
  const payloads: Message[] = [];
  return {
    order,
    inputs: order.requestMessages.map((each) => toContract(input, unwrapped(input, each), { isBinary, registry })),
    controller,
    options: { signal: controller.signal, ...order.timeoutMs === undefined ? {} : { timeoutMs: order.timeoutMs } },
    payloads,
    receive(answer) {
      const { payload } = fromContract(output, answer, registry);
      payloads.push(payload ?? messages.make("ConformancePayload", {}));
    },
    sent: 0,
    turn: Promise.withResolvers(),
  };
}

function toldError(error: unknown, { details }: Observed) {
  if (!(error instanceof RpcError)) return { code: CODES.indexOf("unknown"), message: String(error), details: [] };
  return { code: CODES.indexOf(error.code), message: error.message, details: details.map(fromWire) };
}

async function run(method: Method, calling: Calling): Promise<void> {
  const { order, inputs, options, receive } = calling;
  const streamsInput = order.method === "ClientStream" || order.method === "BidiStream";
  const streamsOutput = order.method === "ServerStream" || order.method === "BidiStream";
  if (!streamsInput) {
    calling.sent = inputs.length;
    cancelAfterSending(calling);
  }
  const answers = method(streamsInput ? requests(calling) : inputs[0], options);
  if (!streamsOutput) return receive(await answers);
  try {
    for await (const answer of answers) {
      receive(answer);
      const { case: when, value } = order.cancel?.cancelTiming ?? {};
      if (when === "afterNumResponses" && calling.payloads.length === value) calling.controller.abort();
      calling.turn.resolve();
    }
  } finally {
    calling.turn.resolve();
  }
}

async function* requests(calling: Calling): AsyncGenerator<unknown> {
  const { order, inputs } = calling;
  for (const input of inputs) {
    await new Promise((resolve) => setTimeout(resolve, order.requestDelayMs));
    calling.sent++;
    calling.turn = Promise.withResolvers();
    yield input;
    if (order.streamType === FULL_DUPLEX) await calling.turn.promise; // a conversation: nobody speaks twice
  }
  cancelAfterSending(calling);
  // Cancelled in place of being ended.
  if (order.cancel?.cancelTiming.case === "beforeCloseSend") await new Promise<never>(() => {});
}

/** `STREAM_TYPE_FULL_DUPLEX_BIDI_STREAM` of the suite's enum. */
const FULL_DUPLEX = 5;

function cancelAfterSending({ order, controller }: Calling): void {
  if (!order.cancel) return;
  const { case: when, value } = order.cancel.cancelTiming;
  if (when === "afterNumResponses") return;
  if (when === "beforeCloseSend") controller.abort();
  else setTimeout(() => controller.abort(), Number(value ?? 0));
}
