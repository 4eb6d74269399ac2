// What a client is told where all records were refused, and what its own clients are not.
import { anonymous, createClient, createServer, fetchTransport, implement, publicOnly } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { failsWith, mesh } from "./_mesh.ts";
import { Shop } from "./_pool.ts";

const BOOK = { item: "book" };
const NOBODY = 'There is no instance of "shop.v1" that can be trusted';
const ELSEWHERE = { endpoints: ["https://elsewhere.example.net"] };

test("balancedTransport() says which records were refused where there is no instance, in the own process only", async () => {
  const made = await mesh();
  await made.add("a", ELSEWHERE);
  const error = await failsWith(made.client().look(BOOK), "unavailable");
  assert.equal(error.message, `${NOBODY} (refused: 1 wrong_endpoint)`);
  assert.equal(error.received, true);
});

test("balancedTransport() counts the refused records by their reasons", async () => {
  const made = await mesh();
  for (const id of ["a", "b"]) await made.add(id, ELSEWHERE);
  await made.add("c", { identity: await made.join("spiffe://example.org/evil", { serves: ["shop.v2"] }) });
  const { message } = await failsWith(made.client().look(BOOK), "unavailable");
  const [, reasons] = message.match(/\(refused: (.*)\)$/) ?? [];
  assert.deepEqual(reasons?.split(", ").sort(), ["1 not_serving", "2 wrong_endpoint"]);
});

test("balancedTransport() says nothing of refusals where there were none", async () => {
  const { client } = await mesh();
  assert.equal((await failsWith(client().look(BOOK), "unavailable")).message, NOBODY);
});

test("balancedTransport() does not let a server tell its callers which records were refused", async () => {
  const made = await mesh();
  await made.add("a", ELSEWHERE);
  const inner = made.client();
  const through = (message: typeof BOOK) => inner.look(message); // it lets through what it gets
  const entries: unknown[] = [];
  const server = createServer(implement(Shop, { look: through, put: through, buy: through }), {
    guard: publicOnly(["shop.v1/look", "shop.v1/put", "shop.v1/buy"]),
    log: (entry) => void entries.push(entry),
  });
  const bodies: string[] = [];
  const transport = fetchTransport("https://outer.example.org", {
    prover: anonymous(),
    async fetch(url, init) {
      const response = await server.fetch(new Request(url, init));
      bodies.push(await response.clone().text());
      return response;
    },
  });
  const error = await failsWith(createClient(Shop, transport).buy(BOOK), "internal");
  assert.equal(entries.length, 1, "the server knows of it");
  assert.equal(bodies.length, 1);
  for (const text of [error.message, ...bodies]) assert.doesNotMatch(text, /refused|wrong_endpoint|no instance/);
});
