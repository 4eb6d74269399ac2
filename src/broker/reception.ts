import { decidesFor } from "../auth/mod.ts";
import { type Codec, CodecError } from "../codec/mod.ts";
import { checkMessage } from "../rpc/mod.ts";
import { BrokerError } from "./broker_error.ts";
import { JOSE_TYPE, JSON_TYPE } from "./event.ts";
import type { Gate } from "./gate.ts";
import type { TopicPattern } from "./topic.ts";
import type { VerifiedEvent } from "./verified_event.ts";

/** What reads the messages of one contract. */
export interface Reception {
  readonly gate: Gate;
  readonly contract: TopicPattern;
  /** Decrypts the data of an event; there for an encrypted topic. */
  readonly decrypt: ((event: VerifiedEvent) => Promise<string>) | undefined;
  readonly codec: Codec;
}

/**
 * Reads the message of an event that was admitted, in this order: its cipher, its codec, its schema, and the rules that ask for the
 * message.
 *
 * @throws {BrokerError} `not_encrypted`, `malformed_message`, `not_allowed`, or why it is not decrypted.
 */
export async function readMessage(reception: Reception, event: VerifiedEvent): Promise<unknown> {
  const data = await messageIn(reception, event);
  assertRules(reception.gate, event, data);
  return data;
}

async function messageIn({ contract, decrypt, codec }: Reception, event: VerifiedEvent): Promise<unknown> {
  if (event.contentType !== (contract.encrypted ? JOSE_TYPE : JSON_TYPE)) {
    throw contract.encrypted
      ? new BrokerError("not_encrypted", "Cannot take the message: it is not encrypted, as its topic is")
      : new BrokerError("malformed_message", "Cannot read the message: it is encrypted, as its topic is not");
  }
  const text = decrypt ? await decrypt(event) : event.data;
  const checked = checkMessage(contract.validate, decoded(codec, text));
  const { value, problem } = checked instanceof Promise ? await checked : checked;
  if (problem !== undefined) throw new BrokerError("malformed_message", problem);
  return value;
}

function decoded(codec: Codec, text: string): unknown {
  try {
    return codec.decode(new TextEncoder().encode(text));
  } catch (cause) {
    if (!(cause instanceof CodecError)) throw cause;
    throw new BrokerError("malformed_message", cause.message, { cause });
  }
}

function assertRules({ policy, now }: Gate, { publisher, topic }: VerifiedEvent, message: unknown): void {
  const rules = policy.matching({ caller: publisher, publish: topic });
  if (decidesFor(rules, { caller: publisher, message, now: new Date(now()) })) return;
  throw new BrokerError("not_allowed", "Cannot take the message: no rule lets its publisher say this");
}
