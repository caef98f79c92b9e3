// A CloudFront function: caches behind the CDN must not give one browser's copy to another.
function handler(event) {
  var response = event.response;
  response.headers['vary'] = { value: 'Accept' };
  return response;
}
