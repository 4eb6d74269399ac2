import { rpc, service, stream } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";

const Empty = v.strictObject({});
const method = rpc(Empty, Empty);

for (const name of ["a", "greeter.v1", "Greeter", "acme.shop.v2_1", "a".repeat(128), "constructor"]) {
  test(`service() takes the service name "${name.slice(0, 20)}"`, () => {
    assert.equal(service(name, { ping: method }).name, name);
  });
}

const badServices = ["", ".a", "a.", "a..b", "1a", "a.1", "a-b", "a/b", "a b", "_a", "a._b", "ä", "a\n", "\na", "a%2f"];
for (const name of [...badServices, "a".repeat(129)]) {
  test(`service() refuses the service name ${JSON.stringify(name).slice(0, 20)}`, () => {
    assert.throws(() => service(name, { ping: method }), (error: Error) => {
      return error instanceof TypeError && error.message.startsWith("Cannot declare the service");
    });
  });
}

for (
  const name of ["hello", "h", "Hello2", "get_it", "a".repeat(64), "catch", "finally", "prototype", "name", "length"]
) {
  test(`service() takes the method name "${name.slice(0, 20)}"`, () => {
    const declared = service("a.v1", { [name]: method });
    assert.deepEqual(Object.keys(declared.methods), [name]);
  });
}

const inherited = Object.getOwnPropertyNames(Object.prototype);
const badMethods = ["", "1a", "_a", "a-b", "a.b", "a/b", "a b", "ä", "a\n", "\na", "a".repeat(65), "then", "toJSON"];
for (const name of new Set([...badMethods, ...inherited, "__proto__"])) {
  test(`service() refuses the method name ${JSON.stringify(name).slice(0, 24)}`, () => {
    const methods = Object.defineProperty({}, name, { value: method, enumerable: true }) as Record<
      string,
      typeof method
    >;
    assert.throws(() => service("a.v1", methods), (error: Error) => {
      return error instanceof TypeError && error.message.startsWith(`Cannot declare "a.v1/${name}": `);
    });
  });
}

test("service() says of each method where it is and what it streams", () => {
  const { methods } = service("a.b.v1", {
    plain: rpc(Empty, Empty),
    up: rpc(stream(Empty), Empty),
    down: rpc(Empty, stream(Empty)),
    both: rpc(stream(Empty), stream(Empty)),
  });
  const seen = Object.values(methods).map((each) => [
    ...[each.service, each.name, each.path],
    ...[each.streamsInput, each.streamsOutput],
  ]);
  assert.deepEqual(seen, [
    ["a.b.v1", "plain", "/a.b.v1/plain", false, false],
    ["a.b.v1", "up", "/a.b.v1/up", true, false],
    ["a.b.v1", "down", "/a.b.v1/down", false, true],
    ["a.b.v1", "both", "/a.b.v1/both", true, true],
  ]);
});

test("service() keeps the methods in their order and their options as they were given", () => {
  const options = {
    safe: true,
    idempotent: true,
    maxBodyBytes: 10,
    callDeadlineMs: 20,
    summary: "s",
    description: "d",
  };
  const { methods } = service("a.v1", { zebra: rpc(Empty, Empty, options), ant: method });
  assert.deepEqual(Object.keys(methods), ["zebra", "ant"]);
  assert.deepEqual(methods.zebra.options, options);
  assert.deepEqual(methods.ant.options, {});
});

test("service() answers a contract that nobody can change", () => {
  const declared = service("a.v1", { ping: method });
  const { methods } = declared;
  assert.ok(Object.isFrozen(declared) && Object.isFrozen(methods) && Object.isFrozen(methods.ping));
  assert.throws(() => Object.assign(methods, { pong: methods.ping }), TypeError);
  assert.throws(() => Object.assign(methods.ping, { path: "/b.v1/other" }), TypeError);
});

test("service() does not follow a later change of the options that rpc() was given", () => {
  const options = { safe: false };
  const { methods } = service("a.v1", { ping: rpc(Empty, Empty, options) });
  options.safe = true;
  assert.equal(methods.ping.options.safe, false);
});

test("service() binds one declaration in two services without mixing them up", () => {
  const [one, two] = [service("a.v1", { ping: method }), service("b.v1", { pong: method })];
  assert.equal(one.methods.ping.path, "/a.v1/ping");
  assert.equal(two.methods.pong.path, "/b.v1/pong");
});

test("service() checks messages with what the schemas say", async () => {
  const { methods } = service("a.v1", { ping: rpc(v.strictObject({ n: v.number() }), Empty) });
  assert.equal((await methods.ping.validateInput({ n: 1 })).issues, undefined);
  assert.equal((await methods.ping.validateInput({ n: "1" })).issues?.length, 1);
  assert.equal((await methods.ping.validateOutput({})).issues, undefined);
});

for (const code of ["not_founds", "NOT_FOUND", "ok", "", "404", "constructor", "toString", "hasOwnProperty"]) {
  test(`service() refuses details for the code ${JSON.stringify(code)}, which there is not`, () => {
    const errors = { [code]: v.object({}) };
    assert.throws(() => service("a.v1", { m: rpc(Empty, Empty, { errors }) }), (error: Error) => {
      return error instanceof TypeError && error.message === `Cannot declare "a.v1/m": there is no code "${code}"`;
    });
  });
}
