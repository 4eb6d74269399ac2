/**
 * The suite's service as Postern's contract.
 *
 * Each message is either what Protobuf makes of it in JSON, or, for the codec "proto", the bytes of the message, which the
 * programs under test read and write themselves: most of the suite's cases of malformed streams exist for that codec alone,
 * and what they look at is the protocol around the messages.
 */
import {
  type DescMessage,
  fromBinary,
  fromJson,
  type JsonValue,
  type Message,
  type Registry,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import type { GenMessage } from "@bufbuild/protobuf/codegenv2";
import { type Codec, CodecError, json } from "@postern/rpc/codec";
import { rpc, service, stream } from "@postern/rpc";
import * as v from "valibot";
import { SERVICE } from "./_messages.ts";

type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

const AnyObject: v.GenericSchema<{ [key: string]: Json }> = v.record(v.string(), v.lazy(() => Json));
const Json: v.GenericSchema<Json> = v.union([
  v.string(),
  v.number(),
  v.boolean(),
  v.null(),
  v.array(v.lazy(() => Json)),
  AnyObject,
]);
const Bytes = v.optional(v.string());
const Headers = v.optional(v.array(v.strictObject({ name: v.string(), value: v.optional(v.array(v.string())) })));
const ErrorOrder = v.strictObject({
  code: v.string(),
  message: v.optional(v.string()),
  details: v.optional(v.array(AnyObject)),
});
const Definition = {
  responseHeaders: Headers,
  responseTrailers: Headers,
  responseDelayMs: v.optional(v.number()),
  error: v.optional(ErrorOrder),
  rawResponse: v.optional(AnyObject),
};
const OneDefinition = v.optional(v.strictObject({ ...Definition, responseData: Bytes }));
const ManyDefinition = v.optional(v.strictObject({ ...Definition, responseData: v.optional(v.array(v.string())) }));
const Payload = v.optional(v.strictObject({
  data: Bytes,
  requestInfo: v.optional(v.strictObject({
    requestHeaders: Headers,
    timeoutMs: v.optional(v.string()),
    requests: v.optional(v.array(AnyObject)),
    connectGetInfo: v.optional(v.strictObject({ queryParams: Headers })),
  })),
}));

/** A message of the codec "proto": not understood, only carried. */
const Opaque = v.strictObject({ protobuf: v.instance(Uint8Array) });

const One = v.union([Opaque, v.strictObject({ responseDefinition: OneDefinition, requestData: Bytes })]);
const Many = v.union([Opaque, v.strictObject({ responseDefinition: ManyDefinition, requestData: Bytes })]);
const Bidi = v.union([
  Opaque,
  v.strictObject({ responseDefinition: ManyDefinition, fullDuplex: v.optional(v.boolean()), requestData: Bytes }),
]);
const Empty = v.union([Opaque, v.strictObject({})]);
const Answer = v.union([Opaque, v.strictObject({ payload: Payload })]);

const served = {
  Unary: rpc(One, Answer),
  IdempotentUnary: rpc(One, Answer, { safe: true }),
  ServerStream: rpc(Many, stream(Answer)),
  ClientStream: rpc(stream(One), Answer),
  BidiStream: rpc(stream(Bidi), stream(Answer)),
};

/** What a server under test serves: all but the method whose whole point is that nobody serves it. */
export const Served = service(SERVICE, served);

/** What a client under test calls. */
export const Called = service(SERVICE, { ...served, Unimplemented: rpc(Empty, Empty) });

/** Protobuf's own encoding, for messages that are {@linkcode Opaque}. */
function proto(maxBytes: number, message: DescMessage | undefined): Codec {
  return {
    name: "proto",
    maxBytes,
    encode: (value) => (value as { protobuf: Uint8Array<ArrayBuffer> }).protobuf,
    decode(bytes) {
      try {
        if (message) fromBinary(message, bytes);
      } catch (cause) {
        throw new CodecError("syntax", "Cannot decode the message: it is not Protobuf", { cause });
      }
      return { protobuf: bytes };
    },
  };
}

/**
 * The codecs under test, which refuse to read what is over the limit. They write it all the same: the suite has one limit
 * for one direction, and its servers must be able to send back a request of just that size with more around it.
 *
 * @param message What comes by the codec "proto", where that is known before.
 */
export function codecsOf(limit: number, message?: DescMessage): { readonly json: Codec; readonly proto: Codec } {
  const maxBytes = limit || 4_194_304;
  const { encode } = json({ maxBytes: 16_777_216 });
  return { json: { ...json({ maxBytes }), encode }, proto: proto(maxBytes, message) };
}

/** Whether a message came, or is to be sent, by the codec "proto". */
export function isOpaque(message: unknown): message is { readonly protobuf: Uint8Array } {
  return typeof message === "object" && message !== null && "protobuf" in message;
}

/** Makes the contract's message of the suite's. */
export function toContract<Shape extends Message>(
  schema: GenMessage<Shape>,
  message: Shape,
  { isBinary, registry }: { readonly isBinary: boolean; readonly registry: Registry },
): unknown {
  return isBinary ? { protobuf: toBinary(schema, message) } : toJson(schema, message, { registry });
}

/** Makes the suite's message of the contract's. */
export function fromContract<Shape extends Message>(
  schema: GenMessage<Shape>,
  given: unknown,
  registry: Registry,
): Shape {
  return isOpaque(given) ? fromBinary(schema, given.protobuf) : fromJson(schema, given as JsonValue, { registry });
}
