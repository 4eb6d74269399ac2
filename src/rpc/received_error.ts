import { json } from "../codec/mod.ts";
import { fromBase64 } from "../internal/base64.ts";
import {
  codeOfStatus,
  detailsType,
  MAX_MESSAGE,
  PROVE_AGAIN,
  REQUEST_INFO,
  STATUS_OF_CODE,
  type WireErrorDetail,
} from "./connect_protocol.ts";
import type { Method } from "./contract.ts";
import { ProveAgainError, type RpcCode, RpcError } from "./rpc_error.ts";
import { check, validatorOf } from "./schema.ts";

/**
 * Makes the error that a server answered with.
 *
 * @param method The method that was called; only the details that its contract gives for the code are kept.
 * @param status The HTTP status, which decides where the body is not Connect's: a proxy's, say.
 * @param body The body, where it is JSON.
 * @see {@link https://connectrpc.com/docs/protocol#error-end-stream}
 */
export async function receivedError(method: Method, status: number, body: Uint8Array | undefined): Promise<RpcError> {
  return await errorOf(method, status, body && decoded(body));
}

/**
 * Reads the last envelope of a stream.
 *
 * @param content Its content, as JSON.
 * @returns The error that ended the stream; undefined where it ended well.
 * @see {@link https://connectrpc.com/docs/protocol#error-end-stream}
 */
export async function receivedEnd(method: Method, content: Uint8Array): Promise<RpcError | undefined> {
  const end = decoded(content);
  if (typeof end !== "object" || Array.isArray(end)) {
    return new RpcError("internal", "Cannot read the answer: its end is not one", { received: true });
  }
  if (end.error === undefined || end.error === null) return undefined;
  const wire = typeof end.error === "object" ? end.error : undefined;
  return await errorOf(method, 200, wire as Wire ?? undefined);
}

type Wire = Readonly<Record<string, unknown>>;

async function errorOf(method: Method, status: number, wire: Wire | undefined): Promise<RpcError> {
  const code = wire && isCode(wire.code) ? wire.code : codeOfStatus(status);
  const message = typeof wire?.message === "string" ? wire.message : `The server answered with status ${status}`;
  const details: readonly WireErrorDetail[] = Array.isArray(wire?.details) ? wire.details : [];
  const ofType = (type: string) => {
    const value: unknown = details.find((each) => each?.type === type)?.value;
    return typeof value === "string" ? value : undefined;
  };
  const options = {
    details: await contractDetails(method, code, ofType(detailsType(method.service, method.name, code))),
    correlationId: correlationIdOf(ofType(REQUEST_INFO)),
    received: true,
  };
  const ageMs = ageOf(ofType(PROVE_AGAIN));
  if (ageMs === undefined) return new RpcError(code, message.slice(0, MAX_MESSAGE), options);
  return new ProveAgainError(code, message.slice(0, MAX_MESSAGE), { ...options, ageMs });
}

function decoded(body: Uint8Array): Wire | undefined {
  try {
    return json().decode(body) as Wire ?? undefined;
  } catch {
    return undefined;
  }
}

function isCode(code: unknown): code is RpcCode {
  return typeof code === "string" && Object.hasOwn(STATUS_OF_CODE, code);
}

async function contractDetails(method: Method, code: RpcCode, value: string | undefined): Promise<unknown> {
  const schema = method.options.errors?.[code];
  if (!schema || !value) return undefined;
  const bytes = fromBase64(value);
  if (!bytes) return undefined;
  try {
    const checked = await check(validatorOf(schema), decoded(bytes));
    return checked.issues ? undefined : checked.value;
  } catch {
    return undefined; // a schema that fails
  }
}

/** How long a server that asks for another proof runs. */
function ageOf(value: string | undefined): number | undefined {
  const bytes = value === undefined ? undefined : fromBase64(value);
  const text = bytes ? String.fromCharCode(...bytes.subarray(0, 16)) : "";
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** The id in a RequestInfo: field 1, a text of at most 127 bytes. */
function correlationIdOf(value: string | undefined): string | undefined {
  const bytes = value ? fromBase64(value) : undefined;
  if (!bytes || bytes[0] !== 10 || bytes[1]! > 127) return undefined;
  const id = String.fromCharCode(...bytes.subarray(2, 2 + bytes[1]!));
  return /^[\w-]+$/.test(id) ? id : undefined;
}
