// Somebody between client and server changes messages, or a caller signs less than it must.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RpcError } from "../../src/rpc/mod.ts";
import { REQUEST_HEADERS } from "../../src/auth/wire.ts";
import { attacked, sceneOf } from "../auth/_attack.ts";
import { changed, forgedFrom, resigned } from "../auth/_messages.ts";
import { type Captured, requestOf } from "../auth/_world.ts";

/** Flips the lowest bit of one character: a header, a path and a method stay printable. */
function flip(text: string, index: number): string {
  return text.slice(0, index) + String.fromCharCode(text.charCodeAt(index) ^ 1) + text.slice(index + 1);
}

/** Places at the start, in the middle and at the end. */
const places = (text: string) => [0, text.length >> 1, text.length - 1];

async function captured(): Promise<
  { readonly request: Captured; readonly scene: Awaited<ReturnType<typeof sceneOf>> }
> {
  const scene = await sceneOf();
  const requests: Captured[] = [];
  await scene.echo.client(scene.web, {
    through: (request) => {
      requests.push(request);
      return Promise.resolve(new Response(null, { status: 503 }));
    },
  }).say({ text: "some words" }).catch(() => {});
  return { request: requests[0]!, scene };
}

describe("T4.1 a request that was changed", () => {
  test("T4.1 a server refuses a request with one bit flipped in its body, wherever", async () => {
    const { request, scene } = await captured();
    for (let index = 0; index < request.body.length; index++) {
      const response = await scene.echo.server.fetch(requestOf(changed(request, { body: flip(request.body, index) })));
      assert.equal(response.status, 401, `at ${index}`);
    }
    assert.deepEqual(scene.echo.calls, []);
    assert.equal(
      (await scene.echo.server.fetch(requestOf(request))).status,
      200,
      "the test itself: unchanged it is let in",
    );
  });

  test("T4.1 a server refuses a request with one bit flipped in a header that is covered, or in its signature", async () => {
    const { request, scene } = await captured();
    const names = [
      ...forgedFrom(request.headers).components.map((name) => name.slice(1, -1)),
      "signature",
      "signature-input",
    ];
    for (const name of names.filter((name) => !name.startsWith("@"))) {
      const value = request.headers[name]!;
      for (const place of places(value)) {
        const other = changed(request, { headers: { [name]: flip(value, place) } });
        const response = await scene.echo.server.fetch(requestOf(other));
        assert.ok([400, 401, 415].includes(response.status), `${name} at ${place}: ${response.status}`);
      }
    }
    assert.deepEqual(scene.echo.calls, []);
  });

  test("T4.1 a server refuses a request with another method or path", async () => {
    const { request, scene } = await captured();
    for (const method of ["GET", "PUT", "PATCH", "DELETE"]) {
      const { url, headers, body } = request;
      const init = method === "GET" ? { method, headers } : { method, headers, body };
      assert.ok((await scene.echo.server.fetch(new Request(url, init))).status >= 400, method);
    }
    for (const path of ["/echo.v1/look", "/echo.v1/hidden", "/echo.v1/sax", "/echo.v0/say", "/echo.v1/say?"]) {
      const response = await scene.echo.server.fetch(requestOf(changed(request, { url: `https://echo.test${path}` })));
      assert.ok(response.status >= 400, path);
    }
    assert.deepEqual(scene.echo.calls, []);
  });

  test("T4.1 a server refuses headers with an effect that were added next to credentials", async () => {
    const { request, scene } = await captured();
    const absent = REQUEST_HEADERS.filter((name) => !(name in request.headers));
    assert.deepEqual(absent, [
      "authorization",
      "txn-token",
      "idempotency-key",
      "postern-callers",
      "postern-delegation",
      "postern-session",
    ]);
    for (const name of absent) {
      const response = await scene.echo.server.fetch(requestOf(changed(request, { headers: { [name]: "1" } })));
      assert.equal(response.status, 401, name);
    }
    const longer = await scene.echo.server.fetch(
      requestOf(changed(request, { headers: { "connect-timeout-ms": "9" } })),
    );
    assert.equal(longer.status, 401);
    const { "connect-timeout-ms": _, ...rest } = request.headers;
    assert.equal((await scene.echo.server.fetch(requestOf({ ...request, headers: rest }))).status, 401);
    assert.deepEqual(scene.echo.calls, []);
    assert.ok(scene.echo.audit.events.every(({ reason }) => reason === "wrong_coverage" || reason === "bad_signature"));
  });

  test("T4.1 a trace that nobody signed counts for nothing, and one that was signed cannot be changed", async () => {
    const trace = (id: string) => `00-${id.repeat(32)}-b7ad6b7169203331-01`;
    const through = (headers: Readonly<Record<string, string | undefined>>) => ({
      through: (request: Captured, send: (request: Captured) => Promise<Response>) =>
        send(changed(request, { headers })),
    });
    const scene = await sceneOf();
    await scene.echo.client(scene.web, through({ traceparent: trace("a") })).say({ text: "x" });
    assert.ok(!scene.echo.calls[0]!.context.traceparent.includes("aaaa"));

    const origin = { origin: { callers: [], traceparent: trace("b") } } as never;
    await scene.echo.client(scene.web).say({ text: "x" }, origin);
    assert.ok(scene.echo.calls[1]!.context.traceparent.startsWith(trace("b").slice(0, 35)));
    for (const traceparent of [trace("a"), `${trace("b")}, ${trace("a")}`, undefined]) {
      const replaced = scene.echo.client(scene.web, through({ traceparent }));
      await assert.rejects(replaced.say({ text: "x" }, origin), { code: "unavailable" });
    }
    assert.equal(scene.echo.calls.length, 2);
  });

  test("T4.1 a header that nobody signed never reaches a handler", async () => {
    const scene = await sceneOf();
    const canary = "canary-7f3a";
    const names = [
      "x-user",
      "x-forwarded-for",
      "forwarded",
      "x-forwarded-user",
      "cookie",
      "x-real-ip",
      "via",
      "baggage",
    ];
    const headers = Object.fromEntries([...names, "tracestate", "x-roles"].map((name) => [name, canary]));
    const through = (request: Captured, send: (request: Captured) => Promise<Response>) =>
      send(changed(request, { headers }));
    await scene.echo.client(scene.web, { through }).say({ text: "x" });
    const seen = reachable(scene.echo.calls[0]!);
    assert.ok(seen.length > 20 && seen.includes("spiffe://example.org/web"), "the test itself looks everywhere");
    assert.ok(!seen.some((text) => text.includes(canary)));
    assert.ok(!JSON.stringify([scene.echo.audit.events, scene.echo.entries]).includes(canary));
  });
});

/** Every text that can be got at from a value: members, getters, symbols, prototypes. */
function reachable(value: unknown, seen = new Set<unknown>(), texts: string[] = []): string[] {
  if (typeof value === "string") texts.push(value);
  if ((typeof value !== "object" && typeof value !== "function") || value === null || seen.has(value)) return texts;
  seen.add(value);
  for (let level = value; level !== null && level !== Object.prototype; level = Object.getPrototypeOf(level)) {
    for (const name of Reflect.ownKeys(level)) {
      texts.push(String(name));
      try {
        reachable(Reflect.get(level, name, value), seen, texts);
      } catch {
        // A getter of another kind of object.
      }
    }
  }
  return texts;
}

describe("T4.1 a signature over something else", () => {
  /** Each is signed with the caller's own key, so that only the rule about its form can refuse it. */
  const mutations: Readonly<Record<string, Parameters<typeof resigned>[1]>> = {
    "no component": { components: () => [] },
    "no method": { components: (all) => all.filter((name) => name !== '"@method"') },
    "no target": { components: (all) => all.filter((name) => name !== '"@request-target"') },
    "no content type": { components: (all) => all.filter((name) => name !== '"content-type"') },
    "no digest": { components: (all) => all.filter((name) => name !== '"content-digest"') },
    "no token": { components: (all) => all.filter((name) => name !== '"workload-identity-token"') },
    "no timeout": { components: (all) => all.filter((name) => name !== '"connect-timeout-ms"') },
    "a component twice": { components: (all) => [...all, '"@method"'] },
    "a header twice": { components: (all) => [...all, '"content-type"'] },
    "no audience": { terms: (all) => all.replace(/;wimse-aud="[^"]*"/, "") },
    "an audience twice": { terms: (all) => `${all};wimse-aud="x"` },
    "an empty audience": { terms: (all) => all.replace(/aud="[^"]*"/, 'aud=""') },
    "another audience": { terms: (all) => all.replace(/aud="[^"]*"/, 'aud="spiffe://example.org/web"') },
    "a prefix of the audience": { terms: (all) => all.replace(/echo"/, 'ech"') },
    "the audience in upper case": { terms: (all) => all.replace(/spiffe:\/\/example/, "SPIFFE://example") },
    "no beginning": { terms: (all) => all.replace(/;created=\d+/, "") },
    "a beginning twice": { terms: (all) => `${all};created=1800000000` },
    "no end": { terms: (all) => all.replace(/;expires=\d+/, "") },
    "an end before the beginning": { terms: (all) => all.replace(/expires=\d+/, "expires=1799999999") },
    "too long a life": { terms: (all) => all.replace(/expires=\d+/, "expires=1800000061") },
    "no nonce": { terms: (all) => all.replace(/;nonce="[^"]*"/, "") },
    "a short nonce": { terms: (all) => all.replace(/nonce="[^"]*"/, 'nonce="1234567"') },
    "a long nonce": { terms: (all) => all.replace(/nonce="[^"]*"/, `nonce="${"n".repeat(129)}"`) },
    "no tag": { terms: (all) => all.replace(/;tag="[^"]*"/, "") },
    "another tag": { terms: (all) => all.replace(/tag="[^"]*"/, 'tag="wimse-service-to-service"') },
    "a key of its own choice": { terms: (all) => `${all};keyid="mine"` },
    "an algorithm of its own choice": { terms: (all) => `${all};alg="hmac-sha256"` },
    "an unknown parameter": { terms: (all) => `${all};foo` },
    "a wish that is spelled out": { terms: (all) => `${all}=?1` },
    "a wish with a value": { terms: (all) => `${all}=0` },
    "a parameter in upper case": { terms: (all) => all.replace(";nonce", ";Nonce") },
    "a space among the parameters": { terms: (all) => all.replace(";nonce", "; nonce") },
    "a leading zero": { terms: (all) => all.replace("created=", "created=0") },
    "a fraction": { terms: (all) => all.replace(/created=(\d+)/, "created=$1.0") },
    "an escape": { terms: (all) => all.replace('nonce="', 'nonce="\\"') },
    "a response's nonce": { terms: (all) => `${all};wimse-req-nonce="12345678"` },
    "a label in upper case": { label: "WIMSE" },
    "no label": { label: "" },
  };
  for (const [title, change] of Object.entries(mutations)) {
    test(`T4.1 a server refuses a caller's good signature with ${title}`, async () => {
      const outcome = await attacked({ change: (request, { web }) => resigned(request, change, web) });
      assert.equal(outcome.status, 401);
      assert.equal(outcome.headers.has("signature"), false);
      assert.equal(outcome.error.code, "unavailable");
    });
  }

  /** A component that the message does not have cannot be signed for: the name alone is what is tried. */
  const named: Readonly<Record<string, (input: string) => string>> = {
    "the path in place of the target": (input) => input.replace("@request-target", "@path"),
    "the authority in place of the target": (input) => input.replace("@request-target", "@authority"),
    "the URI in place of the target": (input) => input.replace("@request-target", "@target-uri"),
    "a status": (input) => input.replace('("@method"', '("@status" "@method"'),
    "the method of another request": (input) => input.replace('"@method"', '"@method";req'),
    "a component in upper case": (input) => input.replace("content-type", "Content-Type"),
    "a component of a dictionary": (input) => input.replace('"content-digest"', '"content-digest";key="sha-256"'),
    "a component as bytes": (input) => input.replace('"content-type"', '"content-type";bs'),
    "a trailer": (input) => input.replace('"content-type"', '"content-type";tr'),
    "a header that is not there": (input) => input.replace('("@method"', '("x-other" "@method"'),
    "what no header can be called": (input) => input.replace('("@method"', '("a@b" "@method"'),
    "two spaces": (input) => input.replace(" ", "  "),
    "a second label": (input) => `${input}, other=("@method")`,
    "the same label twice": (input) => `${input}, ${input}`,
    "another label than the signature": (input) => input.replace("wimse=", "other="),
    "nothing": () => "()",
  };
  for (const [title, change] of Object.entries(named)) {
    test(`T4.1 a server refuses a Signature-Input with ${title}, in the words of every other refusal`, async () => {
      const outcome = await attacked({
        change: (request) =>
          changed(request, { headers: { "signature-input": change(request.headers["signature-input"]!) } }),
      });
      assert.equal(outcome.code, "unauthenticated");
      assert.equal(outcome.status, 401);
      assert.equal(outcome.headers.has("signature"), false);
    });
  }

  test("T4.1 a server refuses two signatures, even where both are good", async () => {
    const outcome = await attacked({
      async change(request, { web }) {
        const other = await resigned(request, { label: "other" }, web);
        const both = (name: string) => `${request.headers[name]}, ${other.headers[name]}`;
        const headers = { "signature-input": both("signature-input"), signature: both("signature") };
        return changed(request, { headers });
      },
    });
    assert.equal(outcome.event.reason, "malformed_signature");
  });

  test("T4.1 a server accepts any order, a header more and any label: the tests above change what matters only", async () => {
    const changes: Parameters<typeof resigned>[1][] = [
      {},
      { components: (all) => [...all].reverse() },
      { label: "sig1" },
      { headers: { "x-other": "1" }, components: (all) => [...all, '"x-other"'] },
      { terms: (all) => all.split(";").reverse().filter(Boolean).map((each) => `;${each}`).join("") },
      { terms: (all) => all.replace(";wimse-sign-response", "") },
    ];
    for (const change of changes) {
      const scene = await sceneOf();
      const through = async (request: Captured, send: (request: Captured) => Promise<Response>) =>
        await send(await resigned(request, change, scene.web));
      assert.deepEqual(await scene.echo.client(scene.web, { through }).say({ text: "x" }), { text: "x" });
    }
  });
});

describe("T4.1 an answer that was changed", () => {
  test("T4.1 a client refuses an answer with one bit flipped in its body, its headers or its status", async () => {
    const scene = await sceneOf();
    const refuse = async (change: (response: Response, text: string) => Response, title: string) => {
      const through = async (request: Captured, send: (request: Captured) => Promise<Response>) => {
        const response = await send(request);
        return change(response, await response.text());
      };
      const error = await scene.echo.client(scene.web, { through }).say({ text: "words" }).then(
        (value) => assert.fail(`${title}: it answered ${JSON.stringify(value)}`),
        (error) => error,
      );
      assert.ok(error instanceof RpcError && error.code === "unavailable", title);
    };
    for (let index = 0; index < '{"text":"words"}'.length; index++) {
      await refuse(({ headers }, text) => new Response(flip(text, index), { headers }), `body at ${index}`);
    }
    for (const status of [201, 202, 208, 204 ^ 1, 216, 456, 500]) {
      await refuse(({ headers }, text) => new Response(text, { status, headers }), `status ${status}`);
    }
    for (const name of ["content-type", "content-digest", "workload-identity-token", "signature", "signature-input"]) {
      for (const place of [0, 1, 2]) {
        await refuse((response, text) => {
          const headers = new Headers(response.headers);
          const value = headers.get(name)!;
          headers.set(name, flip(value, places(value)[place]!));
          return new Response(text, { headers });
        }, `${name} at ${place}`);
      }
    }
  });
});
