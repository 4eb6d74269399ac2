/**
 * A Postern server for the suite to test: reads one `ServerCompatRequest`, serves as it says, and tells where.
 *
 * Started by the suite, which `tests/conformance/run.ts` starts.
 */
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { createServer, publicOnly } from "@postern/rpc";
import { serve } from "@postern/rpc/deno";
import { codecsOf, Served } from "./_contract.ts";
import { exchanges } from "./_exchanges.ts";
import { loadMessages, type ServerCompatRequest } from "./_messages.ts";
import { conformanceHandlers } from "./_service.ts";
import { readMessages, writeMessage } from "./_stdio.ts";

const messages = await loadMessages();
const { value } = await readMessages().next();
const wanted = fromBinary(messages.find<ServerCompatRequest>("ServerCompatRequest"), value!);
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

const open = publicOnly(Object.values(Served.methods).map(({ path }) => path.slice(1)));
const { json, proto } = codecsOf(wanted.messageReceiveLimit);
const { observing, guard, exchangeOf } = exchanges(open);
const server = createServer(conformanceHandlers(messages, exchangeOf), {
  guard,
  codecs: [json, proto],
  tlsTerminated: !wanted.useTls,
  log: () => {}, // of nothing but what the suite provokes
});

const port = wanted.useTls ? (await serveTls()).port : servePlain();
const Response = messages.find("ServerCompatResponse");
const response = messages.make("ServerCompatResponse", { host: "127.0.0.1", port, pemCert: wanted.serverCreds?.cert });
writeMessage(toBinary(Response, response));

function serveTls() {
  const { cert, key } = wanted.serverCreds!;
  const clientCerts = wanted.clientTlsCert.length > 0 ? { caCerts: [text(wanted.clientTlsCert)] } : undefined;
  const where = { hostname: "127.0.0.1", port: 0, cert: text(cert), key: text(key) };
  return serve({ ...server, fetch: observing(server.fetch) }, clientCerts ? { ...where, clientCerts } : where);
}

/** Without TLS nothing of Postern listens: here the listener is what a proxy that ends TLS would call. */
function servePlain(): number {
  const fetch = observing(server.fetch);
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => fetch(request)).addr.port;
}
