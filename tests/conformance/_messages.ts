/** The messages of the conformance suite, from descriptors that {@linkcode installSuite} took out of the suite itself. */
import {
  create,
  createFileRegistry,
  type DescMessage,
  type FileRegistry,
  fromBinary,
  type Message,
  type MessageShape,
} from "@bufbuild/protobuf";
import type { GenMessage } from "@bufbuild/protobuf/codegenv2";
import { type Any, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

const PACKAGE = "connectrpc.conformance.v1";

/** The service that the suite calls and serves. */
export const SERVICE = `${PACKAGE}.ConformanceService`;

/** A header or a trailer, with all its values. */
export interface Header {
  name: string;
  value: string[];
}

/** An error as the suite orders one, or wants to be told of one. */
export interface ErrorMessage {
  code: number;
  message?: string;
  details: Any[];
}

/** What a client asks the server to answer: with one message, or with a stream of them. */
export interface ResponseDefinition {
  responseHeaders: Header[];
  /** Of one message. */
  response?: { case: "responseData"; value: Uint8Array } | { case: "error"; value: ErrorMessage } | { case: undefined };
  /** Of a stream. */
  responseData?: Uint8Array[];
  error?: ErrorMessage;
  responseTrailers: Header[];
  responseDelayMs: number;
}

/** Any request of the service. */
export interface ServiceRequest extends Message {
  responseDefinition?: ResponseDefinition;
  requestData: Uint8Array;
  fullDuplex?: boolean;
}

/** Any response of the service. */
export interface ServiceResponse extends Message {
  payload?: Message;
}

interface TlsCreds {
  cert: Uint8Array;
  key: Uint8Array;
}

/** How to start a server. */
export interface ServerCompatRequest extends Message {
  useTls: boolean;
  clientTlsCert: Uint8Array;
  messageReceiveLimit: number;
  serverCreds?: TlsCreds;
}

/** One call that a client has to make. */
export interface ClientCompatRequest extends Message {
  testName: string;
  codec: number;
  host: string;
  port: number;
  serverTlsCert: Uint8Array;
  clientTlsCreds?: TlsCreds;
  messageReceiveLimit: number;
  method: string;
  streamType: number;
  requestHeaders: Header[];
  requestMessages: Any[];
  timeoutMs?: number;
  requestDelayMs: number;
  cancel?: { cancelTiming: { case?: "beforeCloseSend" | "afterCloseSendMs" | "afterNumResponses"; value?: unknown } };
}

/** `CODEC_PROTO` of the suite's enum. */
export const CODEC_PROTO = 1;

/** The suite's messages. */
export interface Messages {
  /** All of them, for messages within messages. */
  readonly registry: FileRegistry;
  /** One message by its name in the suite's package. */
  find<Shape extends Message = Message>(name: string): GenMessage<Shape>;
  /** Makes a message. */
  make(name: string, fields: Readonly<Record<string, unknown>>): Message;
  /** The request and the response of a method of the service. */
  method(name: string): { readonly input: GenMessage<ServiceRequest>; readonly output: GenMessage<ServiceResponse> };
}

/** Reads the descriptors, from where the environment says. */
export async function loadMessages(): Promise<Messages> {
  const path = Deno.env.get("POSTERN_CONFORMANCE_DESCRIPTORS");
  if (path === undefined) throw new TypeError("Start this program by tests/conformance/run.ts");
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, await Deno.readFile(path)));
  const service = registry.getService(SERVICE)!;
  const find = <Shape extends Message>(name: string) => registry.getMessage(`${PACKAGE}.${name}`) as GenMessage<Shape>;
  return {
    registry,
    find,
    make: (name, fields) => create(find(name), fields as never), // nothing knows the fields of a message that is found
    method(name) {
      const found = service.methods.find((method) => method.name === name);
      if (!found) throw new TypeError(`The suite has no method "${name}"`);
      return { input: found.input as GenMessage<ServiceRequest>, output: found.output as GenMessage<ServiceResponse> };
    },
  };
}

/** Takes a message out of its wrapping. */
export function unwrapped<Desc extends DescMessage>(schema: Desc, { value }: Any): MessageShape<Desc> {
  return fromBinary(schema, value);
}
