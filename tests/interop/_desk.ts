/** One service twice: as a Postern contract, and as the Protobuf descriptors that Connect's own library wants. */
import { create, createFileRegistry, type DescService, type Message, type Registry } from "@bufbuild/protobuf";
import type { GenMessage, GenService } from "@bufbuild/protobuf/codegenv2";
import {
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  MethodOptions_IdempotencyLevel as Idempotency,
} from "@bufbuild/protobuf/wkt";
import { rpc, service } from "@postern/rpc";
import * as v from "valibot";

const Ask = v.strictObject({ visitorName: v.pipe(v.string(), v.maxLength(64)) });
const Told = v.object({ roomLabel: v.string() });

/** The contract. Its names are in lower camel case, as Protobuf writes its fields' names in JSON. */
export const Desk = service("desk.v1", {
  greet: rpc(Ask, Told),
  look: rpc(Ask, Told, { safe: true }),
  fail: rpc(Ask, Told, { errors: { not_found: v.strictObject({ shelf: v.string() }) } }),
  wait: rpc(Ask, Told),
});

/** What a client asks. */
export interface AskMessage extends Message<"desk.Ask"> {
  visitorName: string;
}

/** What it is told. */
export interface ToldMessage extends Message<"desk.Told"> {
  roomLabel: string;
}

/** google.rpc.RequestInfo, which carries the correlation id. */
export interface RequestInfoMessage extends Message<"google.rpc.RequestInfo"> {
  requestId: string;
  servingData: string;
}

interface Unary {
  methodKind: "unary";
  input: GenMessage<AskMessage>;
  output: GenMessage<ToldMessage>;
}

const METHODS = ["greet", "look", "fail", "wait", "missing"] as const;

const files = createFileRegistry(
  deskFile(),
  () => undefined,
);
const errorFiles = createFileRegistry(requestInfoFile(), () => undefined);

/** The service as Connect has it; `missing` is in nobody's contract. */
export const DeskDescriptor = serviceOf(files, "desk.v1") as GenService<Record<typeof METHODS[number], Unary>>;

/** The message of the detail that carries the correlation id. */
export const RequestInfo = errorFiles.getMessage("google.rpc.RequestInfo") as GenMessage<RequestInfoMessage>;

function serviceOf(registry: Registry, name: string): DescService {
  const found = registry.getService(name);
  if (!found) throw new TypeError(`No service "${name}" in the descriptors`);
  return found;
}

/** `package desk; service v1`, so that the service's full name is `desk.v1`. */
function deskFile(): FileDescriptorProto {
  return create(FileDescriptorProtoSchema, {
    name: "desk.proto",
    package: "desk",
    syntax: "proto3",
    messageType: [
      { name: "Ask", field: [text("visitor_name", 1)] },
      { name: "Told", field: [text("room_label", 1)] },
    ],
    service: [{
      name: "v1",
      method: METHODS.map((name) => ({
        name,
        inputType: ".desk.Ask",
        outputType: ".desk.Told",
        options: name === "look" ? { idempotencyLevel: Idempotency.NO_SIDE_EFFECTS } : {},
      })),
    }],
  });
}

/** @see {@link https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto} */
function requestInfoFile(): FileDescriptorProto {
  return create(FileDescriptorProtoSchema, {
    name: "google/rpc/error_details.proto",
    package: "google.rpc",
    syntax: "proto3",
    messageType: [{ name: "RequestInfo", field: [text("request_id", 1), text("serving_data", 2)] }],
  });
}

function text(name: string, number: number) {
  const jsonName = name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
  return { name, jsonName, number, label: Label.OPTIONAL, type: Type.STRING };
}
