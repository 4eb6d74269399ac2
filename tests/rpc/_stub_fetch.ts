// A client whose requests never leave: what answers them is a function of the test's.
import { anonymous, createClient, fetchTransport, type FetchTransportOptions } from "../../src/rpc/mod.ts";
import { Echo } from "./_rig.ts";

export const message = { text: "a" };
export const prover = anonymous();

/** A request as a stub of `fetch` saw it. */
export interface Sent {
  readonly url: string;
  readonly init: RequestInit;
  readonly headers: Headers;
}

/** A client of `Echo` whose requests are answered by a function, with notes of what was sent. */
export function client(
  answer: (sent: Sent) => unknown,
  options: Partial<FetchTransportOptions> = {},
  url = "https://echo.test",
) {
  const requests: Sent[] = [];
  const fetch = async (to: string, init: RequestInit) => {
    const sent = { url: to, init, headers: new Headers(init.headers) };
    requests.push(sent);
    return await answer(sent) as Response;
  };
  const transport = fetchTransport(url, { prover, fetch, ...options });
  return { echo: createClient(Echo, transport), transport, requests };
}

/** An answer to {@linkcode message}. */
export const answered = (text = "a", headers = {}) =>
  new Response(JSON.stringify({ text }), { headers: { "content-type": "application/json", ...headers } });

/** Whatever a server may answer, marked as JSON. */
export const typed = (body: BodyInit | null, status = 200, headers = {}) =>
  new Response(body, { status, headers: { "content-type": "application/json", ...headers } });
