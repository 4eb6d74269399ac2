import { RpcError } from "./rpc_error.ts";

/** The request headers that anyone looks at; a name that came twice has its values joined by a comma. */
export interface HttpHead {
  contentType?: string;
  contentLength?: string;
  contentEncoding?: string;
  transferEncoding?: string;
  streamEncoding?: string;
  timeoutMs?: string;
  protocolVersion?: string;
  fetchSite?: string;
  host?: string;
  /** All headers by their lower-case names, for the guard: asking the runtime for each would cost more than this pass. */
  readonly all: ReadonlyMap<string, string>;
}

const FIELDS: ReadonlyMap<string, Exclude<keyof HttpHead, "all">> = /* @__PURE__ */ new Map([
  ["content-type", "contentType"],
  ["content-length", "contentLength"],
  ["content-encoding", "contentEncoding"],
  ["transfer-encoding", "transferEncoding"],
  ["connect-content-encoding", "streamEncoding"],
  ["connect-timeout-ms", "timeoutMs"],
  ["connect-protocol-version", "protocolVersion"],
  ["sec-fetch-site", "fetchSite"],
  ["host", "host"],
]);

/**
 * Reads what the protocol needs of a request's headers, and how large they all are, in one pass.
 *
 * Seeing every byte is a dear part of a small call on Deno; reading this many headers one by one is not cheaper.
 *
 * @throws {HttpRefusal} The headers are larger than `maxBytes`.
 */
export function readHead(headers: Headers, maxBytes: number): HttpHead {
  const all = new Map<string, string>();
  const head: HttpHead = { all };
  let bytes = 0;
  headers.forEach((value, name) => {
    bytes += name.length + value.length;
    all.set(name, value);
    const field = FIELDS.get(name);
    if (field) head[field] = value;
  });
  if (bytes > maxBytes) {
    throw new HttpRefusal(431, "resource_exhausted", `Cannot take the call: its headers are over ${maxBytes} bytes`);
  }
  return head;
}

/** Refuses a host that is none: Deno makes the URL of whatever HTTP/1.1 has as its host, a path included. */
export function assertHost({ host }: HttpHead): void {
  if (host === undefined || HOST_PATTERN.test(host)) return;
  throw new RpcError("invalid_argument", "Cannot take the call: its host is not one");
}

/** A host and perhaps a port. */
const HOST_PATTERN = /^[\w.\-:[\]]*$/;

/** A refusal with a status of HTTP's own in place of the one that goes with its code. */
export class HttpRefusal extends RpcError {
  /** The HTTP status. */
  readonly status: number;
  /** Headers that go with the status. */
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    code: RpcError["code"],
    message: string,
    options: ErrorOptions & { readonly headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(code, message, options);
    this.status = status;
    this.headers = options.headers ?? {};
  }
}
