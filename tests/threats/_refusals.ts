/** The mistakes that callers make every day: each has an answer, and none may cost the connection. */
import { MAX_BYTES } from "./programs/target.ts";

/** One request and what it must get. */
export interface Refusal {
  readonly name: string;
  readonly verb: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly status: number;
  readonly code: string;
}

const RIGHT = {
  verb: "POST",
  path: "/greeter.v1/hello",
  headers: { "content-type": "application/json" },
  body: '{"name":"Ada"}',
};

function refusal(name: string, status: number, code: string, wrong: Partial<Refusal>): Refusal {
  return { ...RIGHT, ...wrong, name, status, code };
}

function withHeader(name: string, value: string): Partial<Refusal> {
  return { headers: { ...RIGHT.headers, [name]: value } };
}

/** Refusals of small requests. */
export const SMALL: readonly Refusal[] = [
  refusal("wrong service", 404, "unimplemented", { path: "/nobody.v1/hello" }),
  refusal("wrong method", 404, "unimplemented", { path: "/greeter.v1/nothing" }),
  refusal("no path", 404, "unimplemented", { path: "/" }),
  refusal("a method that is not open", 403, "permission_denied", { path: "/greeter.v1/closed", body: "{}" }),
  refusal("PUT", 405, "unknown", { verb: "PUT" }),
  refusal("OPTIONS", 405, "unknown", { verb: "OPTIONS", body: "" }),
  refusal("GET of a method that is not safe", 405, "unknown", { verb: "GET", body: "" }),
  refusal("media type", 415, "unknown", withHeader("content-type", "text/plain")),
  refusal("compression", 415, "unimplemented", withHeader("content-encoding", "gzip")),
  refusal("timeout", 400, "invalid_argument", withHeader("connect-timeout-ms", "soon")),
  refusal("protocol version", 400, "invalid_argument", withHeader("connect-protocol-version", "2")),
  refusal("query", 400, "invalid_argument", { path: "/greeter.v1/hello?a=1" }),
  refusal("no body", 400, "invalid_argument", { body: "" }),
  refusal("undecodable", 400, "invalid_argument", { body: '{"name":' }),
  refusal("schema violation", 400, "invalid_argument", { body: '{"name":1}' }),
  refusal("unknown member", 400, "invalid_argument", { body: '{"name":"Ada","role":"admin"}' }),
  refusal("too deep", 429, "resource_exhausted", { body: "[".repeat(200) + "]".repeat(200) }),
];

const LONG = JSON.stringify({ name: "Ada".repeat(1000) });

/** Refusals of requests whose body nobody reads. */
export const UNREAD: readonly Refusal[] = [
  refusal("wrong method, long body", 404, "unimplemented", { path: "/greeter.v1/nothing", body: LONG }),
  refusal("not open, long body", 403, "permission_denied", { path: "/greeter.v1/closed", body: LONG }),
  refusal("PUT, long body", 405, "unknown", { verb: "PUT", body: LONG }),
  refusal("media type, long body", 415, "unknown", {
    ...withHeader("content-type", "text/plain"),
    body: LONG,
  }),
  refusal("timeout, long body", 400, "invalid_argument", { ...withHeader("connect-timeout-ms", "soon"), body: LONG }),
  refusal("oversize declared", 429, "resource_exhausted", { body: "x".repeat(MAX_BYTES + 1) }),
  refusal("far oversize declared", 429, "resource_exhausted", { body: "x".repeat(16 * MAX_BYTES) }),
];
