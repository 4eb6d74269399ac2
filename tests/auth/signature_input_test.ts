import { readSignature, readSignatureInput } from "../../src/auth/signature_input.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { because } from "./_messages.ts";

const names = (count: number) => Array.from({ length: count }, (_, i) => `"h${i}"`).join(" ");
const B64 = "A".repeat(86) + "==";

describe("readSignatureInput()", () => {
  test("readSignatureInput() reads label, components, parameters and the text that the base repeats", () => {
    const text =
      `("@method" "content-digest" "@status";req);created=0;nonce="a b!~";flag;*x.y-z_1="";n=999999999999999`;
    const read = readSignatureInput(`sig-1=${text}`);
    assert.equal(read.label, "sig-1");
    assert.equal(read.text, text);
    assert.deepEqual(read.components, ['"@method"', '"content-digest"', '"@status";req']);
    assert.deepEqual([...read.parameters], [
      ["created", 0],
      ["nonce", "a b!~"],
      ["flag", true],
      ["*x.y-z_1", ""],
      ["n", 999_999_999_999_999],
    ]);
  });

  const accepted: readonly [title: string, value: string][] = [
    ["no component and no parameter", "a=()"],
    ["a label of 64 characters", `${"a".repeat(64)}=()`],
    ["a label that begins with an asterisk", "*a=()"],
    ["a component of 64 characters", `a=("${"h".repeat(64)}")`],
    ["64 components", `a=(${names(64)})`],
    ["a component of the message and of its request", `a=("@method" "@method";req)`],
    ["a text of 2,048 characters", `a=();t="${"x".repeat(2_048)}"`],
    ["a comma and a parenthesis in a text", `a=();t="),b=("`],
    ["a parameter's name of 64 characters", `a=();${"p".repeat(64)}`],
    ["4,096 characters", `a=();t="${"x".repeat(2_040)}";u="${"x".repeat(2042)}"`],
  ];
  for (const [title, value] of accepted) {
    test(`readSignatureInput() takes ${title}`, () => assert.ok(value.startsWith(readSignatureInput(value).label)));
  }

  const refused: readonly [title: string, value: string][] = [
    ["nothing", ""],
    ["4,097 characters", `a=();t="${"x".repeat(2_040)}";u="${"x".repeat(2043)}"`],
    ["a label in upper case", `A=("@method")`],
    ["a label that begins with a digit", `1a=("@method")`],
    ["a label of 65 characters", `${"a".repeat(65)}=()`],
    ["no label", `("@method")`],
    ["an item in place of a list", `a="@method"`],
    ["a component in upper case", `a=("Content-Type")`],
    ["a component that is a token", "a=(date)"],
    ["a component that is a byte sequence", "a=(:AAAA:)"],
    ["a component without a name", `a=("")`],
    ["a component of 65 characters", `a=("${"h".repeat(65)}")`],
    ["a component that no header can be called", `a=("x@y")`],
    ["a component with an underscore", `a=("x_y")`],
    ["65 components", `a=(${names(65)})`],
    ["two spaces between components", `a=("@method"  "@path")`],
    ["a tab between components", `a=("@method"\t"@path")`],
    ["no space between components", `a=("@method""@path")`],
    ["a comma between components", `a=("@method","@path")`],
    ["a space before the list", `a= ("@method")`],
    ["a space in the empty list", "a=( )"],
    ["a space at the list's start", `a=( "@method")`],
    ["a space at the list's end", `a=("@method" )`],
    ["a space before everything", ` a=("@method")`],
    ["a space after everything", `a=("@method") `],
    ["a line break after everything", `a=("@method")\n`],
    ["a space before a parameter", `a=("@method") ;created=1`],
    ["a space after a semicolon", `a=("@method"); created=1`],
    ["a space after an equals sign", `a=("@method");created= 1`],
    ["two labels", `a=("@method"), b=("@path")`],
    ["two labels without a space", `a=("@method"),b=("@path")`],
    ["the same label twice", `a=("@method"), a=("@method")`],
    ["a comma at the end", `a=("@method"),`],
    ["a component twice", `a=("@method" "@method")`],
    ["a component of the request twice", `a=("@method";req "@method";req)`],
    ["a parameter twice", `a=("@method");created=1;created=1`],
    ["a flag twice", `a=();f;f`],
    ["a component with sf", `a=("date";sf)`],
    ["a component with bs", `a=("date";bs)`],
    ["a component with tr", `a=("date";tr)`],
    ["a component with key", `a=("date";key="x")`],
    ["a component with a name", `a=("@query-param";name="x")`],
    ["a component with req spelled out", `a=("@method";req=?1)`],
    ["a component with req twice", `a=("@method";req;req)`],
    ["a nested list", `a=(("@method"))`],
    ["a list that does not end", `a=("@method"`],
    ["a text that does not end", `a=();t="x`],
    ["a text with a backslash", String.raw`a=();t="x\\y"`],
    ["a text with an escaped quote", String.raw`a=();t="x\"y"`],
    ["a text with a line break", `a=();t="x\ny"`],
    ["a text with a tab", `a=();t="x\ty"`],
    ["a text with a letter beyond ASCII", `a=();t="é"`],
    ["a text of 2,049 characters", `a=();t="${"x".repeat(2_049)}"`],
    ["a parameter in upper case", "a=();Created=1"],
    ["a parameter without a name", "a=();=1"],
    ["a parameter's name of 65 characters", `a=();${"p".repeat(65)}`],
    ["a semicolon without a parameter", "a=();"],
    ["two semicolons", "a=();;created=1"],
    ["a negative number", "a=();created=-1"],
    ["a number with a sign", "a=();created=+1"],
    ["a number with a leading zero", "a=();created=01"],
    ["a number with a fraction", "a=();created=1.0"],
    ["a number with an exponent", "a=();created=1e3"],
    ["a number of 16 digits", "a=();created=1000000000000000"],
    ["a boolean spelled out", "a=();flag=?1"],
    ["a token for a value", "a=();alg=ed25519"],
    ["bytes for a value", "a=();nonce=:AAAA:"],
    ["a date for a value", "a=();created=@1"],
    ["something after a parameter", "a=();created=1x"],
  ];
  for (const [title, value] of refused) {
    test(`readSignatureInput() refuses ${title}`, () => {
      assert.throws(() => readSignatureInput(value), because("malformed_signature"));
    });
  }
});

describe("readSignature()", () => {
  test("readSignature() gives the bytes in base64", () => assert.equal(readSignature(`a=:${B64}:`, "a"), B64));

  const refused: readonly [title: string, value: string][] = [
    ["nothing", ""],
    ["another label", `b=:${B64}:`],
    ["a label in upper case", `A=:${B64}:`],
    ["two signatures", `a=:${B64}:, b=:${B64}:`],
    ["the same label twice", `a=:${B64}:, a=:${B64}:`],
    ["a parameter", `a=:${B64}:;x`],
    ["63 bytes", `a=:${"A".repeat(84)}:`],
    ["65 bytes", `a=:${"A".repeat(87)}=:`],
    ["no padding", `a=:${"A".repeat(86)}:`],
    ["base64url", `a=:${"-".repeat(86)}==:`],
    ["a text in place of bytes", `a="${B64}"`],
    ["a token in place of bytes", `a=${"A".repeat(86)}`],
    ["a space before it", ` a=:${B64}:`],
    ["a space after it", `a=:${B64}: `],
    ["a line break after it", `a=:${B64}:\n`],
    ["a space inside", `a=:${"A".repeat(85)} ==:`],
    ["4,097 characters", `a=:${B64}:${" ".repeat(4_096)}`],
  ];
  for (const [title, value] of refused) {
    test(`readSignature() refuses ${title}`, () => {
      assert.throws(() => readSignature(value, "a"), because("malformed_signature"));
    });
  }
});
