/**
 * A Postern client for the suite to test: makes the calls that come on the standard input and tells what came of them.
 *
 * Started by the suite, which `tests/conformance/run.ts` starts.
 */
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { createFetch, type RuntimeFetch } from "@postern/rpc/deno";
import { makeCall } from "./_calls.ts";
import { type ClientCompatRequest, loadMessages } from "./_messages.ts";
import { readMessages, writeMessage } from "./_stdio.ts";

/** Most of what the suite wants is waiting. */
const MAX_CALLS = 16;

const messages = await loadMessages();
const Request = messages.find<ClientCompatRequest>("ClientCompatRequest");
const Response = messages.find("ClientCompatResponse");

const fetches = new Map<string, RuntimeFetch>();
const underWay = new Set<Promise<void>>();
for await (const bytes of readMessages()) {
  const call = answer(fromBinary(Request, bytes));
  underWay.add(call);
  call.finally(() => underWay.delete(call));
  if (underWay.size >= MAX_CALLS) await Promise.race(underWay);
}
await Promise.all(underWay);
Deno.exit(0); // connections are left open

async function answer(request: ClientCompatRequest): Promise<void> {
  const { testName } = request;
  const result = await makeCall(request, fetchFor(request), messages).then(
    (value) => ({ case: "response", value }),
    (error: unknown) => ({ case: "error", value: { message: error instanceof Error ? error.stack : String(error) } }),
  );
  writeMessage(toBinary(Response, messages.make("ClientCompatResponse", { testName, result })));
}

/** One for each server and each certificate shown to it. */
function fetchFor({ port, serverTlsCert, clientTlsCreds }: ClientCompatRequest): RuntimeFetch {
  const key = `${port} ${clientTlsCreds !== undefined}`;
  const known = fetches.get(key);
  if (known) return known;
  const pem = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  const own = clientTlsCreds ? { cert: pem(clientTlsCreds.cert), key: pem(clientTlsCreds.key) } : {};
  const made = createFetch({ caCerts: [pem(serverTlsCert)], ...own });
  fetches.set(key, made);
  return made;
}
