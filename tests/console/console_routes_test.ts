import assert from "node:assert/strict";
import { test } from "node:test";
import {
  anonymous,
  createClient,
  createServer,
  fetchTransport,
  implement,
  publicOnly,
  rpc,
  RpcError,
  service,
} from "../../mod.ts";
import { consoleRoutes } from "../../src/console/mod.ts";
import { Hono } from "hono";
import * as v from "valibot";

const Greeter = service("greeter.v1", {
  hello: rpc(v.strictObject({ name: v.string() }), v.object({ text: v.string() }), { safe: true }),
});

function greeterServer() {
  return createServer(
    implement(Greeter, {
      hello({ name }) {
        if (name === "nobody") throw new RpcError("not_found", "There is nobody of that name");
        return { text: `Hello, ${name}!` };
      },
    }),
    { guard: publicOnly(["greeter.v1/hello"]), log: () => {} },
  );
}

const HEALTH = "https://localhost/healthz";

/** A client whose requests go straight to the application. */
function clientOf(app: { fetch(request: Request): Response | Promise<Response> }, url: string) {
  const fetch = async (input: string, init: RequestInit) => await app.fetch(new Request(input, init));
  return createClient(Greeter, fetchTransport(url, { prover: anonymous(), fetch }));
}

/** Makes one call that works and one that fails, as their client sees them. */
async function assertServes(app: Hono, url: string): Promise<void> {
  const client = clientOf(app, url);
  assert.deepEqual(await client.hello({ name: "Ada" }), { text: "Hello, Ada!" });
  await assert.rejects(client.hello({ name: "nobody" }), (error) => {
    assert.ok(error instanceof RpcError);
    assert.equal(error.code, "not_found");
    assert.equal(error.message, "There is nobody of that name");
    assert.match(error.correlationId ?? "", /^[0-9a-f-]{36}$/);
    return true;
  });
}

test("consoleRoutes() answers that a server is serving, and lets nobody store it", async () => {
  const response = await consoleRoutes(greeterServer()).fetch(new Request(HEALTH));
  assert.equal(response.status, 200);
  assert.deepEqual(await response.json(), { status: "serving" });
  assert.equal(response.headers.get("cache-control"), "no-store");
});

test("consoleRoutes() answers 503 once the server drains", async () => {
  const server = greeterServer();
  const routes = consoleRoutes(server);
  await server[Symbol.asyncDispose]();
  const response = await routes.fetch(new Request(HEALTH));
  assert.equal(response.status, 503);
  assert.deepEqual(await response.json(), { status: "not_serving" });
  assert.equal(response.headers.get("cache-control"), "no-store");
});

test("consoleRoutes() answers 404 for every other path", async () => {
  const routes = consoleRoutes(greeterServer());
  for (const path of ["/", "/health", "/healthz/", "/healthz/x", "/HEALTHZ", "//healthz", "/greeter.v1/hello"]) {
    const response = await routes.fetch(new Request(`https://localhost${path}`));
    assert.equal(response.status, 404, path);
    await response.body?.cancel();
  }
});

test("consoleRoutes() answers no verb but GET and HEAD", async () => {
  const routes = consoleRoutes(greeterServer());
  for (const method of ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
    const response = await routes.fetch(new Request(HEALTH, { method }));
    assert.equal(response.status, 404, method);
    await response.body?.cancel();
  }
  const head = await routes.fetch(new Request(HEALTH, { method: "HEAD" }));
  assert.equal(head.status, 200);
  assert.equal(await head.text(), "");
});

test("server.fetch serves under app.mount() of a Hono application, and errors pass through", async () => {
  const app = new Hono();
  app.mount("/rpc", greeterServer().fetch);
  await assertServes(app, "https://localhost/rpc");
});

test("server.fetch serves under app.mount() where the client's URL ends in a slash", async () => {
  const app = new Hono();
  app.mount("/rpc", greeterServer().fetch);
  await assertServes(app, "https://localhost/rpc/");
});

test("server.fetch serves in a path below a path", async () => {
  const app = new Hono();
  app.mount("/api/v2/rpc", greeterServer().fetch);
  await assertServes(app, "https://localhost/api/v2/rpc");
});

test("server.fetch serves a Hono route with c.req.raw", async () => {
  const server = greeterServer();
  const app = new Hono();
  app.all("/greeter.v1/*", (c) => server.fetch(c.req.raw));
  await assertServes(app, "https://localhost");
});

test("server.fetch answers a GET of a safe method under app.mount()", async () => {
  const app = new Hono();
  app.mount("/rpc", greeterServer().fetch);
  const message = encodeURIComponent('{"name":"Ada"}');
  const url = `https://localhost/rpc/greeter.v1/hello?connect=v1&encoding=json&message=${message}`;
  const response = await app.request(url);
  assert.equal(response.status, 200);
  assert.deepEqual(await response.json(), { text: "Hello, Ada!" });
});

test("server.fetch answers what it does not serve under app.mount() itself", async () => {
  const app = new Hono();
  app.mount("/rpc", greeterServer().fetch);
  const response = await app.request("https://localhost/rpc/greeter.v1/nothing", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
  assert.equal(response.status, 404);
  assert.equal((await response.json()).code, "unimplemented");
});

test("consoleRoutes() answers beside the calls of one Hono application", async () => {
  const server = greeterServer();
  const app = new Hono();
  app.all("/greeter.v1/*", (c) => server.fetch(c.req.raw));
  app.mount("/", consoleRoutes(server).fetch);
  await assertServes(app, "https://localhost");
  assert.deepEqual(await (await app.request(HEALTH)).json(), { status: "serving" });
  await server[Symbol.asyncDispose]();
  assert.equal((await app.request(HEALTH)).status, 503);
  await assert.rejects(clientOf(app, "https://localhost").hello({ name: "Ada" }), { code: "unavailable" });
});

test("server.fetch refuses a request without TLS under app.mount() too", async () => {
  const app = new Hono();
  app.mount("/rpc", greeterServer().fetch);
  const response = await app.request("http://localhost/rpc/greeter.v1/hello", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"name":"Ada"}',
  });
  assert.equal(response.status, 400);
  assert.equal((await response.json()).code, "failed_precondition");
});
