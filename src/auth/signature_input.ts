import { AuthError } from "./auth_error.ts";

/** What a message's signature says it covers, and on which terms. */
export interface SignatureInput {
  /** The label, which the signature's own header has too. */
  readonly label: string;
  /** The covered components, as they are in the signature base: `"@method"`, `"@method";req`. */
  readonly components: readonly string[];
  /** The parameters by name; `true` for one that is just there. */
  readonly parameters: ReadonlyMap<string, ParameterValue>;
  /** The text that the base's last line repeats. */
  readonly text: string;
}

/** A parameter's value: a text, an integer, or that it is there. */
export type ParameterValue = string | number | true;

/**
 * Reads a `Signature-Input` that has exactly one signature, in the one spelling that serializing it would give.
 *
 * A structured field may be spelled in many ways that mean the same; a signature is over the serialized one (RFC 9421,
 * section 2.3). Taking only that one means that no two readers can disagree.
 *
 * @throws {AuthError} `malformed_signature`.
 * @see {@link https://www.rfc-editor.org/rfc/rfc9421#section-4.1}
 */
export function readSignatureInput(value: string): SignatureInput {
  const match = value.length <= MAX_LENGTH ? MEMBER.exec(value) : null;
  if (!match) throw malformed("what it covers is not spelled as one signature's components");
  const [, label, text, list, rest] = match;
  const components = list === "" ? [] : list!.split(" ");
  if (new Set(components).size !== components.length) throw malformed("it covers a component twice");
  return { label: label!, components, parameters: parametersOf(rest!), text: text! };
}

/**
 * Reads the `Signature` that belongs to it.
 *
 * @returns The signature's bytes in base64.
 * @throws {AuthError} `malformed_signature`.
 */
export function readSignature(value: string, label: string): string {
  const match = value.length <= MAX_LENGTH ? SIGNATURE.exec(value) : null;
  if (!match || match[1] !== label) throw malformed("the signature is not one, or has another label");
  return match[2]!;
}

function parametersOf(text: string): ReadonlyMap<string, ParameterValue> {
  const parameters = new Map<string, ParameterValue>();
  let end = 0;
  for (const [whole, name, number, string] of text.matchAll(PARAMETER)) {
    if (parameters.has(name!)) throw malformed("it has a parameter twice");
    parameters.set(name!, number === undefined ? string ?? true : Number(number));
    end += whole.length;
  }
  if (end !== text.length) throw malformed("a parameter is malformed");
  return parameters;
}

const malformed = (why: string) => new AuthError("malformed_signature", `Cannot check the signature: ${why}`);

/** In UTF-16 code units; as much as a dozen components and a long audience need. */
const MAX_LENGTH = 4_096;

const COMPONENT = String.raw`"@?[a-z0-9-]{1,64}"(?:;req)?`;
const MEMBER = new RegExp(
  String.raw`^([a-z*][a-z0-9_.*-]{0,63})=(\(((?:${COMPONENT}(?: ${COMPONENT}){0,63})?)\)(.*))$`,
);
/** Nothing that needs a backslash, so that a text has one spelling; an integer without leading zeros, for the same. */
const PARAMETER = /;([a-z*][a-z0-9_.*-]{0,63})(?:=(?:(0|[1-9]\d{0,14})|"([\x20\x21\x23-\x5b\x5d-\x7e]{0,2048})"))?/gy;
const SIGNATURE = /^([a-z*][a-z0-9_.*-]{0,63})=:([A-Za-z0-9+/]{86}==):$/;
