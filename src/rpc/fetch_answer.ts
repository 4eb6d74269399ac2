import { readBody } from "./http_body.ts";
import { isNotSent } from "./not_sent.ts";
import { NotSentError, RECEIVED, RpcError } from "./rpc_error.ts";

/** The media type of an answer, without parameters. */
export function mediaTypeOf(headers: Headers): string {
  return (headers.get("content-type") ?? "").split(";", 1)[0]!.trim().toLowerCase();
}

/** The error for an answer of another media type: in another codec than was asked for, or nothing of Connect's at all. */
export function otherMediaType(mediaType: string, wanted: string): RpcError {
  const familyOf = (type: string) => type.replace(/\w+$/, ""); // "application/", or "application/connect+"
  const code = familyOf(mediaType) === familyOf(wanted) ? "internal" : "unknown";
  return new RpcError(code, "Cannot read the answer: its media type is another");
}

/** The whole body of an answer that is one. */
export async function receive(response: Response, maxBytes: number): Promise<Uint8Array> {
  const { headers } = response;
  assertNoRedirect(response);
  // The length of a compressed body says nothing of what it becomes.
  const length = headers.has("content-encoding") ? null : headers.get("content-length");
  return await readBody(response, length, maxBytes).bytes.catch((error: RpcError) => {
    release(response);
    throw error.code === "canceled" ? error.cause : error; // it was not the caller who broke the answer off
  });
}

/** Lets go of a body that nobody wants; one that is being read, or is gone, is let go of already. */
export function release(response: Response): void {
  response.body?.cancel().catch(() => {});
}

/** Refuses an answer that sends the call elsewhere. */
export function assertNoRedirect(response: Response): void {
  if (response.type !== "opaqueredirect" && (response.status < 300 || response.status >= 400)) return;
  release(response);
  throw new RpcError("unknown", "Cannot read the answer: it is a redirect, which is never followed");
}

/** What a client throws, marked so that a server which does not catch it does not pass it on. */
export function received(cause: unknown): RpcError {
  if (!(cause instanceof RpcError)) {
    if (isNotSent(cause)) return new NotSentError("Cannot reach the server", { cause, ...RECEIVED });
    return new RpcError("unavailable", "Cannot reach the server", { cause, ...RECEIVED });
  }
  return cause.received ? cause : new RpcError(cause.code, cause.message, { cause, ...RECEIVED });
}
