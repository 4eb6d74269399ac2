import assert from "node:assert/strict";
import { test } from "node:test";
import { allow, policy } from "../../src/auth/mod.ts";
import {
  natsInboxPrefix,
  natsPermissions,
  type NatsPermissionsOptions,
  natsUsers,
} from "../../src/broker/nats/nats_permissions.ts";
import { groupName } from "../../src/broker/nats/nats_names.ts";

const ORDERS = "spiffe://example.org/orders";
const MAIL = "spiffe://example.org/mail";
const AUDIT = "spiffe://example.org/audit";
const STAR = "spiffe://example.org/star";
const rules = policy([
  allow({ caller: ORDERS, publish: "orders.v1.*" }),
  allow({ caller: MAIL, subscribe: ["orders.v1.placed", "orders.v2.>"] }),
  allow({ caller: AUDIT, subscribe: ">" }),
  allow({ caller: STAR, subscribe: "orders.v1.*" }),
]);
const rights = (id: string, options: NatsPermissionsOptions = {}) =>
  natsPermissions(rules, { id, roles: [], attributes: {} }, { inboxPrefix: "_INBOX_x", ...options });
const NKEY = `U${"A".repeat(55)}`;

test("natsPermissions() allows the topics of the rules, and the keys of those topics", () => {
  assert.deepEqual(rights(ORDERS), {
    publish: { allow: ["orders.v1.*", "postern.keys.orders.v1.*"] },
    subscribe: { allow: ["_INBOX_x.>", "postern.join.orders.v1.*"] },
  });
  assert.deepEqual(rights(MAIL, { subjectPrefix: "events" }), {
    publish: { allow: ["events.postern.join.orders.v1.placed", "events.postern.join.orders.v2.>"] },
    subscribe: {
      allow: [
        "_INBOX_x.>",
        "events.orders.v1.placed",
        "events.orders.v2.>",
        "events.postern.keys.orders.v1.placed",
        "events.postern.keys.orders.v2.>",
      ],
    },
  });
});

test("natsPermissions() never gives an empty list, which would allow everything", () => {
  const { publish, subscribe } = rights("spiffe://example.org/nobody");
  assert.deepEqual(publish.allow, ["_NOWHERE"]);
  assert.deepEqual(subscribe.allow, ["_INBOX_x.>"]);
});

test("natsPermissions() refuses a rule that would cover the subjects of NATS itself", () => {
  for (const pattern of [">", "*", "*.*.*.*", "*.API.>"]) {
    const caller = { id: ORDERS, roles: [], attributes: {} };
    for (const rule of [{ publish: pattern }, { subscribe: pattern }]) {
      const wide = policy([allow({ caller: ORDERS, ...rule })]);
      assert.throws(() => natsPermissions(wide, caller), /subjectPrefix/, pattern);
      assert.ok(natsPermissions(wide, caller, { subjectPrefix: "events" }));
    }
  }
});

test("natsPermissions() allows with a stream what one group needs, and nothing of others", () => {
  const pattern = "orders.v1.placed";
  const name = groupName("mail", pattern);
  const { publish, subscribe } = rights(MAIL, {
    jetstream: { stream: "EVENTS", groups: [{ group: "mail", pattern }] },
  });
  assert.deepEqual(subscribe.allow, ["_INBOX_x.>"]);
  assert.deepEqual(publish.allow, [
    "postern.join.orders.v1.placed",
    "postern.join.orders.v2.>",
    "$JS.API.STREAM.INFO.EVENTS",
    `$JS.API.CONSUMER.CREATE.EVENTS.${name}.${pattern}`,
    `$JS.API.CONSUMER.INFO.EVENTS.${name}`,
    `$JS.API.CONSUMER.MSG.NEXT.EVENTS.${name}`,
    `$JS.ACK.EVENTS.${name}.>`,
  ]);
});

test("natsPermissions() allows with a stream to subscribe without a group by what is read only", () => {
  const { publish } = rights(MAIL, { jetstream: { stream: "EVENTS" } });
  assert.deepEqual(publish.allow.slice(2), [
    "$JS.API.STREAM.INFO.EVENTS",
    "$JS.API.CONSUMER.CREATE.EVENTS.*.orders.v1.placed",
    "$JS.API.CONSUMER.CREATE.EVENTS.*.orders.v2.>",
    "$JS.API.CONSUMER.CREATE.EVENTS.*.postern.keys.orders.v1.placed",
    "$JS.API.CONSUMER.CREATE.EVENTS.*.postern.keys.orders.v2.>",
    "$JS.ACK.EVENTS.*.>",
  ]);
  const nobody = rights("spiffe://example.org/nobody", { jetstream: { stream: "EVENTS" } });
  assert.deepEqual(nobody.publish.allow, ["$JS.API.STREAM.INFO.EVENTS"]);
});

test("natsPermissions() refuses what a stream would make wider than the policy", () => {
  const jetstream = { stream: "EVENTS" };
  const group = { group: "g", pattern: "orders.v1.*" };
  assert.throws(() => rights(STAR, { jetstream }), /deeper/);
  assert.throws(() => rights(STAR, { jetstream: { ...jetstream, groups: [group] } }), /deeper/);
  assert.ok(rights(STAR, { jetstream: { ...jetstream, groups: [group], alone: true, deeper: true } }));
  const groups = (pattern: string) => ({ jetstream: { ...jetstream, groups: [{ group: "g", pattern }] } });
  for (const pattern of ["orders.v1.paid", "orders.>", ">", "", "a b", "$JS.>", "orders.v2.a b", "orders.v2.$x"]) {
    assert.throws(() => rights(MAIL, groups(pattern)), /does not let/, pattern);
  }
  assert.ok(rights(MAIL, groups("orders.v2.paid")));
});

test("natsPermissions() refuses names that would be more than one part of a subject", () => {
  for (const stream of ["", "*", ">", "a.b", "a b", "A\n"]) {
    assert.throws(() => rights(MAIL, { jetstream: { stream } }), TypeError, stream);
  }
  for (const subjectPrefix of ["", "*", "a.>", "$JS", "a b", "a."]) {
    assert.throws(() => rights(MAIL, { subjectPrefix }), TypeError, subjectPrefix);
  }
  for (const inboxPrefix of ["", ">", "_INBOX.*", "_INBOX.a.b", "a", "_INBOX_a b", "_INBOX_*"]) {
    assert.throws(() => rights(MAIL, { inboxPrefix }), TypeError, inboxPrefix);
  }
});

test("natsInboxPrefix() gives each identity another, which is one token", () => {
  const prefixes = [ORDERS, MAIL, AUDIT].map(natsInboxPrefix);
  assert.equal(new Set(prefixes).size, 3);
  for (const prefix of prefixes) assert.match(prefix, /^_INBOX_[\w-]{43}$/);
  const { subscribe } = natsPermissions(rules, { id: ORDERS, roles: [], attributes: {} });
  assert.equal(subscribe.allow[0], `${natsInboxPrefix(ORDERS)}.>`);
});

test("groupName() is another for each group and each pattern", () => {
  const names = [["g", "a.b"], ["g", "a.*"], ["h", "a.b"], ["g", "a"], ["g-a", "b"], ["g", "events.a.b"]] as const;
  assert.equal(new Set(names.map(([group, subject]) => groupName(group, subject))).size, names.length);
  assert.match(groupName("g", "a.>"), /^g-[\w-]{43}$/);
});

test("natsUsers() writes users, and refuses what is no key, or would allow everything", () => {
  const permissions = rights(ORDERS);
  assert.equal(
    natsUsers([{ nkey: NKEY, permissions }]),
    `[\n  { nkey: ${NKEY}, permissions: { publish: { allow: ["orders.v1.*","postern.keys.orders.v1.*"] }, ` +
      `subscribe: { allow: ["_INBOX_x.>","postern.join.orders.v1.*"] } } }\n]`,
  );
  for (const nkey of ["", `S${"A".repeat(57)}`, `${NKEY}, password: x`, `${NKEY}\n`, NKEY.toLowerCase()]) {
    assert.throws(() => natsUsers([{ nkey, permissions }]), TypeError, nkey);
  }
  assert.throws(() => natsUsers([{ nkey: NKEY, permissions }, { nkey: NKEY, permissions }]), /same key/);
  const none = { allow: [] };
  assert.throws(() => natsUsers([{ nkey: NKEY, permissions: { ...permissions, publish: none } }]), /everything/);
  assert.throws(() => natsUsers([{ nkey: NKEY, permissions: { ...permissions, subscribe: none } }]), /everything/);
});
