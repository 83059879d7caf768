// An OpenID provider: prints one JSON line with its port. Whoever comes with `login_hint=NAME` is NAME, at once, of an organisation
// with accounts here (`hd`). `unverified…` has an address that was not verified, `private…` is of no organisation, `foreign…` of one with
// another domain, and `gmail…` has a mailbox of Google's.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const [redirect] = process.argv.slice(2);
const server = createServer();
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const { port } = server.address();
const issuer = `http://127.0.0.1:${port}`;

const provider = new Provider(issuer, {
  clients: [{ client_id: 'loopmaster', client_secret: 'a secret of the tests', redirect_uris: [redirect] }],
  // As the large providers do: the identity token says who it is.
  conformIdTokenClaims: false,
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'picture', 'hd'] },
  cookies: { keys: ['tests'] },
  features: { devInteractions: { enabled: false } },
  pkce: { required: () => true },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  async findAccount(_, id) {
    return {
      accountId: id,
      claims: async () => ({
        sub: id,
        email: `${id.replace(/-.*/, '')}@${id.startsWith('gmail') ? 'gmail.com' : 'Example.com'}`,
        email_verified: !id.startsWith('unverified'),
        name: `${id} of the tests`,
        picture: `${issuer}/picture.png`,
        ...(/^(private|gmail)/.test(id) ? {} : { hd: id.startsWith('foreign') ? 'foreign.example' : 'example.com' }),
      }),
    };
  },
});
const answer = provider.callback();
// One pixel.
const picture = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==',
  'base64',
);

server.on('request', async (request, response) => {
  if (request.url === '/picture.png') {
    response.setHeader('content-type', 'image/png');
    return response.end(picture);
  }
  if (!request.url.startsWith('/interaction/')) return answer(request, response);
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    return provider.interactionFinished(request, response, { login: { accountId: params.login_hint } });
  }
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope('openid email profile');
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
});
process.stdout.write(JSON.stringify({ port }) + '\n');
process.stdin.on('end', () => process.exit(0)).resume();
